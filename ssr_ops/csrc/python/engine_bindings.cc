// Model and Engine for Python; ssr_ops/engine.py checks arguments and names the faults.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "python/bindings.h"
#include "ssr/engine.h"
#include "ssr/precision.h"

namespace py = pybind11;

namespace ssr {
namespace {

using FloatArray = py::array_t<float>;

std::unique_ptr<Engine> MakeEngine(const std::string& bundle, const std::string& device,
                                   const std::string& precision, int threads,
                                   const std::string& implementation) {
  EngineOptions options;
  options.device = device;
  options.precision = precision;
  options.threads = threads;
  options.implementation = implementation;
  std::unique_ptr<Engine> engine;
  Status status;
  {
    const py::gil_scoped_release release;
    std::shared_ptr<const Model> model;
    status = Model::Load(bundle, &model);
    if (status.ok()) status = Engine::Create(std::move(model), options, &engine);
  }
  RaiseIfError(status);
  return engine;
}

// images: (N, 64, 64, 3), each image contiguous, any distance between images.
py::dict Run(Engine& engine, const py::array_t<uint8_t>& images, bool stages, bool interval) {
  if (images.ndim() != 4 || images.shape(1) != kImageSize || images.shape(2) != kImageSize ||
      images.shape(3) != 3) {
    throw py::value_error("images: expected shape (N, 64, 64, 3)");
  }
  const py::ssize_t n = images.shape(0);
  if (n > 0 && (images.strides(1) != kImageRow || images.strides(2) != 3 || images.strides(3) != 1)) {
    throw py::value_error("images: each image must be contiguous");
  }
  const auto* base = static_cast<const uint8_t*>(images.data());
  std::vector<const uint8_t*> pointers(static_cast<size_t>(n));
  for (py::ssize_t i = 0; i < n; ++i) pointers[static_cast<size_t>(i)] = base + i * images.strides(0);

  const Architecture& architecture = engine.model().architecture;
  const py::ssize_t bins = architecture.TotalBins();
  const auto count = static_cast<py::ssize_t>(architecture.stages.size());
  py::dict result;
  Outputs outputs;
  const auto add = [&](const char* name, std::vector<py::ssize_t> shape) {
    FloatArray array(std::move(shape));
    result[name] = array;
    return array.mutable_data();
  };
  outputs.value = add("value", {n});
  if (interval) outputs.interval = add("interval", {n, 2});
  if (stages) {
    outputs.p = add("p", {n, bins});
    outputs.eta = add("eta", {n, bins});
    outputs.delta = add("delta", {n, count});
  }
  Status status;
  {
    const py::gil_scoped_release release;
    status = engine.Predict(pointers.data(), n, outputs);
  }
  RaiseIfError(status);
  return result;
}

py::dict Choose(const std::string& bundle, const std::string& device, const std::string& implementation) {
  EngineOptions options;
  options.device = device;
  options.implementation = implementation;
  PrecisionChoice choice;
  Status status;
  {
    const py::gil_scoped_release release;
    std::shared_ptr<const Model> model;
    status = Model::Load(bundle, &model);
    if (status.ok()) status = ChoosePrecision(model, options, &choice);
  }
  RaiseIfError(status);
  std::map<std::string, std::string> slower;
  for (const auto& [name, speed] : choice.speeds) {
    const std::string line = SlowerThanFp32(choice, name);
    if (!line.empty()) slower[name] = line;
  }
  py::dict found;
  found["precision"] = PrecisionName(choice.precision);
  found["reason"] = choice.reason;
  found["speeds"] = choice.speeds;
  found["slower"] = slower;
  return found;
}

}  // namespace

void BindEngine(py::module_& m) {
  m.attr("max_threads") = kMaxThreads;
  m.def("choose_precision", &Choose, py::arg("bundle"), py::arg("device"), py::arg("implementation"));
  py::class_<Engine>(m, "Engine")
      .def(py::init(&MakeEngine), py::arg("bundle"), py::arg("device"), py::arg("precision"),
           py::arg("threads"), py::arg("implementation"))
      .def("run", &Run, py::arg("images").noconvert(), py::arg("stages"), py::arg("interval"))
      .def_property_readonly("implementation", &Engine::implementation)
      .def_property_readonly("precision", [](const Engine& e) { return e.options().precision; })
      .def_property_readonly("calibrated",
                             [](const Engine& e) { return !e.model().interval.half_widths.empty(); })
      .def_property_readonly("name", [](const Engine& e) { return e.model().name; })
      .def_property_readonly("colour", [](const Engine& e) { return e.model().colour; })
      .def_property_readonly("input_name", [](const Engine& e) { return e.model().input_name; })
      .def_property_readonly("output_name", [](const Engine& e) { return e.model().output_name; })
      .def_property_readonly(
          "clip", [](const Engine& e) { return std::pair(e.model().clip_low, e.model().clip_high); })
      .def_property_readonly("crop", [](const Engine& e) { return e.model().crop; })
      .def_property_readonly("stages", [](const Engine& e) { return e.model().architecture.stages; })
      .def_property_readonly("interface_sha256", [](const Engine& e) { return e.model().interface_sha256; })
      .def_property_readonly("weights_sha256", [](const Engine& e) { return e.model().weights_sha256; })
      .def_property_readonly("synthetic", [](const Engine& e) { return e.model().synthetic; });
}

}  // namespace ssr
