// Cutting for Python; ssr_ops/cutting.py has checked shapes, formats and the crop.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "python/bindings.h"
#include "ssr/crop.h"
#include "ssr/maps.h"

namespace py = pybind11;

namespace ssr {
namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;

// matrix and range: empty unless the format is nv12. The frame is (H, W, 3), or of NV12 (H * 3 / 2, W).
Frame MakeFrame(const Bytes& pixels, const std::string& format, const std::string& matrix,
                const std::string& range) {
  Frame frame;
  frame.data = pixels.data();
  frame.height = pixels.shape(0), frame.width = pixels.shape(1);
  frame.format = format == "nv12"  ? FrameFormat::kNv12
                 : format == "rgb" ? FrameFormat::kRgb
                                   : FrameFormat::kBgr;
  if (frame.format == FrameFormat::kNv12) frame.height = frame.height / 3 * 2;
  frame.matrix = matrix == "bt709" ? YuvMatrix::kBt709 : YuvMatrix::kBt601;
  frame.range = range == "full" ? YuvRange::kFull : YuvRange::kLimited;
  return frame;
}

using Points = std::vector<std::array<double, 2>>;

constexpr const char* kBorders[] = {"clip", "replicate", "constant"};

// points: the template's five, or none.
Crop MakeCrop(const std::string& border, const std::array<double, 4>& margin, const Points& points,
              int size) {
  Crop crop;
  for (const Border known : {Border::kClip, Border::kReplicate, Border::kConstant}) {
    if (border == kBorders[static_cast<int>(known)]) crop.border = known;
  }
  std::copy(margin.begin(), margin.end(), crop.margin);
  if (!points.empty() && points.size() != kLandmarks) throw py::value_error("points: expected five");
  crop.aligned = !points.empty();
  crop.size = size;
  for (size_t i = 0; i < points.size(); ++i) std::copy(points[i].begin(), points[i].end(), crop.points[i]);
  return crop;
}

Points PointsOf(const Crop& crop) {
  Points points;
  for (int i = 0; crop.aligned && i < kLandmarks; ++i)
    points.push_back({crop.points[i][0], crop.points[i][1]});
  return points;
}

Bytes Cut(const Bytes& pixels, const std::string& format, const std::string& matrix, const std::string& range,
          const Crop& crop, bool rgb, const Floats& boxes, const std::optional<Floats>& landmarks) {
  const py::ssize_t n = boxes.shape(0);
  Bytes crops({n, py::ssize_t{kImageSize}, py::ssize_t{kImageSize}, py::ssize_t{3}});
  const Frame frame = MakeFrame(pixels, format, matrix, range);
  const float* points = landmarks ? landmarks->data() : nullptr;
  uint8_t* out = crops.mutable_data();
  Status status;
  {
    const py::gil_scoped_release release;
    status = CutFaces(frame, crop, rgb, boxes.data(), points, n, out);
  }
  RaiseIfError(status);
  return crops;
}

Bytes ToBgr(const Bytes& pixels, const std::string& format, const std::string& matrix,
            const std::string& range) {
  const Frame frame = MakeFrame(pixels, format, matrix, range);
  RaiseIfError(CheckFrame(frame));
  Bytes made({static_cast<py::ssize_t>(frame.height), static_cast<py::ssize_t>(frame.width), py::ssize_t{3}});
  uint8_t* out = made.mutable_data();
  const py::gil_scoped_release release;
  for (int64_t row = 0; row < frame.height; ++row) RowToBgr(frame, row, out + row * 3 * frame.width);
  return made;
}

}  // namespace

void BindCut(py::module_& m) {
  py::class_<Crop>(m, "Crop")
      .def(py::init(&MakeCrop), py::arg("border"), py::arg("margin"), py::arg("points"), py::arg("size"))
      .def_property_readonly("border", [](const Crop& c) { return kBorders[static_cast<int>(c.border)]; })
      .def_property_readonly("margin",
                             [](const Crop& c) {
                               return std::array<double, 4>{c.margin[0], c.margin[1], c.margin[2],
                                                            c.margin[3]};
                             })
      .def_property_readonly("points", &PointsOf)
      .def_readonly("box", &Crop::box)
      .def_readonly("size", &Crop::size);
  m.def("cut_faces", &Cut, py::arg("frame").noconvert(), py::arg("format"), py::arg("matrix"),
        py::arg("range"), py::arg("crop"), py::arg("rgb"), py::arg("boxes").noconvert(),
        py::arg("landmarks"));
  m.def("frame_to_bgr", &ToBgr, py::arg("frame").noconvert(), py::arg("format"), py::arg("matrix"),
        py::arg("range"));
  m.def("cut_implementation", [] { return std::string(CutImplementation()); });
}

}  // namespace ssr
