// ssr_ops._native: the core for Python. Thin: arguments in, statuses out as ValueError.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "python/bindings.h"
#include "ssr/implementation.h"

namespace py = pybind11;

PYBIND11_MODULE(_native, m) {
  m.def(
      "implementations",
      [](const std::string& name) {
        ssr::Precision precision = ssr::Precision::kFp32;
        ssr::RaiseIfError(ssr::ParsePrecision(name, &precision));
        std::vector<std::string> names;
        for (const ssr::Isa isa : ssr::SupportedIsas(precision)) names.emplace_back(ssr::IsaName(isa));
        return names;
      },
      py::arg("precision") = "fp32");
  ssr::BindCut(m);
  ssr::BindDetector(m);
  ssr::BindEngine(m);
  ssr::BindRegression(m);
#ifdef SSR_CUDA
  m.attr("built_with_cuda") = true;
#else
  m.attr("built_with_cuda") = false;
#endif
}
