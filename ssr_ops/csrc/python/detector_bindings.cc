// Detector for Python; ssr_ops/detector.py checks arguments and names the faults.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "python/bindings.h"
#include "ssr/detector.h"

namespace py = pybind11;

namespace ssr {
namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;

std::unique_ptr<Detector> MakeDetector(const std::string& bundle, const std::string& precision, int threads,
                                       const std::string& implementation) {
  DetectorOptions options;
  options.precision = precision;
  options.threads = threads;
  options.implementation = implementation;
  std::unique_ptr<Detector> detector;
  Status status;
  {
    const py::gil_scoped_release release;
    std::shared_ptr<const DetectorModel> model;
    status = DetectorModel::Load(bundle, &model);
    if (status.ok()) status = Detector::Create(std::move(model), options, &detector);
  }
  RaiseIfError(status);
  return detector;
}

// array: (H, W, 3), contiguous.
Frame FrameOf(const Bytes& array) {
  if (array.ndim() != 3 || array.shape(2) != 3) throw py::value_error("frame: expected shape (H, W, 3)");
  Frame frame;
  frame.data = array.data();
  frame.height = array.shape(0);
  frame.width = array.shape(1);
  return frame;
}

// Boxes (M, 4), scores (M,), landmarks (M, 5, 2).
py::tuple Detect(Detector& detector, const Bytes& array, float threshold, const std::vector<int>& scales) {
  const Frame frame = FrameOf(array);
  std::vector<Detection> found;
  Status status;
  {
    const py::gil_scoped_release release;
    status = detector.Detect(frame, {threshold, scales}, &found);
  }
  RaiseIfError(status);
  const auto count = static_cast<py::ssize_t>(found.size());
  py::array_t<float> boxes({count, py::ssize_t{4}}), scores(count);
  py::array_t<float> landmarks({count, py::ssize_t{5}, py::ssize_t{2}});
  float *box = boxes.mutable_data(), *score = scores.mutable_data(), *point = landmarks.mutable_data();
  for (const Detection& face : found) {
    *box++ = face.x, *box++ = face.y, *box++ = face.width, *box++ = face.height;
    *score++ = face.score;
    point = std::copy(std::begin(face.landmarks), std::end(face.landmarks), point);
  }
  return py::make_tuple(boxes, scores, landmarks);
}

py::array_t<float> Raw(Detector& detector, const Bytes& array) {
  const Frame frame = FrameOf(array);
  std::vector<float> raw;
  Status status;
  {
    const py::gil_scoped_release release;
    status = detector.Raw(frame, &raw);
  }
  RaiseIfError(status);
  return py::array_t<float>(static_cast<py::ssize_t>(raw.size()), raw.data());
}

}  // namespace

void BindDetector(py::module_& m) {
  py::class_<Detector>(m, "Detector")
      .def(py::init(&MakeDetector), py::arg("bundle"), py::arg("precision"), py::arg("threads"),
           py::arg("implementation"))
      .def("detect", &Detect, py::arg("frame").noconvert(), py::arg("threshold"), py::arg("scales"))
      .def("raw", &Raw, py::arg("frame").noconvert())
      .def_property_readonly("implementation", &Detector::implementation)
      .def_property_readonly("name", [](const Detector& d) { return d.model().name; })
      .def_property_readonly("scales", [](const Detector& d) { return d.model().scales; })
      .def_property_readonly("threshold", [](const Detector& d) { return d.model().score_threshold; })
      .def_property_readonly("weights_sha256", [](const Detector& d) { return d.model().weights_sha256; });
}

}  // namespace ssr
