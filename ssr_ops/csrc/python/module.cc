// ssr_ops._native: the core for Python. Thin: arguments in, statuses out as ValueError.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "python/bindings.h"
#include "ssr/implementation.h"

namespace py = pybind11;

PYBIND11_MODULE(_native, m) {
  m.def("implementations", [] {
    std::vector<std::string> names;
    for (const ssr::Isa isa : ssr::SupportedIsas()) names.emplace_back(ssr::IsaName(isa));
    return names;
  });
  ssr::BindEngine(m);
  ssr::BindRegression(m);
#ifdef SSR_CUDA
  m.attr("built_with_cuda") = true;
#else
  m.attr("built_with_cuda") = false;
#endif
}
