// The timers for Python; faults are ValueErrors.
#include "python/bindings.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "timers.h"

namespace py = pybind11;

namespace ssr {

PYBIND11_MODULE(_kernels, m) {
  m.def(
      "measure_multiply_adds",
      [](const std::string& implementation, double seconds, const std::string& precision) {
        double rate = 0;
        Status status;
        {
          const py::gil_scoped_release release;
          status = MeasureMultiplyAdds(implementation, precision, seconds, &rate);
        }
        RaiseIfError(status);
        return rate;
      },
      py::arg("implementation"), py::arg("seconds"), py::arg("precision") = "fp32");
  m.def(
      "measure_products",
      [](const std::string& way, double seconds) {
        double rate = 0;
        RaiseIfError(MeasureProducts(way, seconds, &rate));
        return rate;
      },
      py::arg("way"), py::arg("seconds"));
  m.def(
      "time_layers",
      [](const std::string& bundle, const py::array_t<uint8_t, py::array::c_style>& image,
         const std::string& implementation, const std::string& precision, double seconds) {
        if (image.ndim() != 3 || image.shape(0) != kImageSize || image.shape(1) != kImageSize ||
            image.shape(2) != 3) {
          throw py::value_error("image: expected shape (64, 64, 3)");
        }
        EngineOptions options;
        options.precision = precision;
        options.implementation = implementation;
        std::vector<LayerTime> layers;
        Status status;
        {
          const py::gil_scoped_release release;
          std::shared_ptr<const Model> model;
          status = Model::Load(bundle, &model);
          if (status.ok()) status = TimeLayers(std::move(model), options, image.data(), seconds, &layers);
        }
        RaiseIfError(status);
        std::vector<std::pair<std::string, double>> result;
        for (const LayerTime& layer : layers) result.emplace_back(layer.name, layer.seconds);
        return result;
      },
      py::arg("bundle"), py::arg("image").noconvert(), py::arg("implementation"), py::arg("precision"),
      py::arg("seconds"));
}

}  // namespace ssr
