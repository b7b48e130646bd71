// Every implementation cuts what plain loops over the definition cut, or all refuse with one sentence.
// Frames, boxes and crops lie in blocks of their very size, so that the address sanitizer sees what is read
// beside them.
#include "cut_fuzz.h"

#include <cmath>
#include <limits>
#include <memory>

#include "core/crop_geometry.h"
#include "core_testing.h"
#include "ssr/crop.h"

namespace fuzz {

long reached[kFates] = {};

namespace {

using ssr::Border;
using ssr::FrameFormat;

// The input, byte by byte; zeros behind its end.
class Source {
 public:
  Source(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  unsigned Byte() { return at_ < size_ ? data_[at_++] : 0; }
  unsigned Below(unsigned limit) { return (Byte() | Byte() << 8) % limit; }
  double Share() { return Below(65536) / 65535.0; }  // 0..1

  // Most of them about a frame of `side` pixels, some at the ends of what there is.
  float Number(double side) {
    static const float kOdd[] = {0.0f,   -0.0f, NAN,   -NAN,        INFINITY, -INFINITY, 3.4e38f, -3.4e38f,
                                 1e-45f, 1e9f,  -1e9f, 16777216.0f, 65535.0f, 65536.0f,  0.5f,    1.0f};
    const unsigned kind = Byte();
    if (kind < 16) return kOdd[kind];
    if (kind < 24) {
      const unsigned bits = Byte() | Byte() << 8 | Byte() << 16 | Byte() << 24;
      float value;
      std::memcpy(&value, &bits, sizeof(value));
      return value;
    }
    if (kind < 80) return static_cast<float>(std::floor(Share() * side));
    return static_cast<float>((Share() * 2 - 0.5) * side);
  }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

const double kFace[ssr::kLandmarks][2] = {
    {38.29, 51.7}, {73.53, 51.5}, {56.03, 71.74}, {41.55, 92.37}, {70.73, 92.2}};

ssr::Crop MakeCrop(Source* source) {
  ssr::Crop crop;
  crop.aligned = source->Byte() % 3 == 0;
  crop.border = static_cast<Border>(source->Byte() % 3);
  if (!crop.aligned) {
    do {
      for (double& margin : crop.margin)
        margin = source->Share() * (source->Byte() % 4 == 0 ? 4.9 : 1.4) - 0.9;
      if (source->Byte() % 4 == 0) std::fill(crop.margin, crop.margin + 4, 0.0);
      for (int k = 0; k < 2; ++k) {
        if (1 + crop.margin[k] + crop.margin[k + 2] < 0.1) crop.margin[k + 2] = 0.1;
      }
    } while (1 + crop.margin[0] + crop.margin[2] < 0.1 || 1 + crop.margin[1] + crop.margin[3] < 0.1);
    return crop;
  }
  if (crop.border == Border::kClip) crop.border = Border::kReplicate;
  crop.size = source->Byte() % 2 == 0 ? 112 : 8 + static_cast<int>(source->Below(4089));
  for (int i = 0; i < ssr::kLandmarks; ++i) {
    for (int k = 0; k < 2; ++k) crop.points[i][k] = (kFace[i][k] + source->Share() * 9) * crop.size / 112;
  }
  return crop;
}

// The template turned, scaled, moved and shaken; or any numbers.
void MakeLandmarks(Source* source, const ssr::Crop& crop, const ssr::Frame& frame, float* points) {
  const auto height = static_cast<double>(frame.height), width = static_cast<double>(frame.width);
  const unsigned kind = source->Byte();
  const double scale = std::exp(source->Share() * 10 - 6), turn = source->Share() * 6.3;
  const double x = source->Share() * width, y = source->Share() * height;
  const double c = std::cos(turn) * scale, s = std::sin(turn) * scale;
  for (int i = 0; i < ssr::kLandmarks; ++i) {
    const double u = crop.points[i][0] - crop.size / 2.0, v = crop.points[i][1] - crop.size / 2.0;
    const double shaken = source->Share() * scale;
    points[2 * i] = static_cast<float>(c * u - s * v + x + shaken);
    points[2 * i + 1] = static_cast<float>(s * u + c * v + y);
    if (kind < 20) points[2 * i] = source->Number(width), points[2 * i + 1] = source->Number(height);
    if (kind >= 20 && kind < 40) points[2 * i + 1] = points[2 * i];
  }
}

// The definition's pixel: ssr_bundle/nv12.py.
void PixelAt(const ssr::Frame& frame, int64_t row, int64_t column, int64_t* bgr) {
  if (frame.format != FrameFormat::kNv12) {
    const uint8_t* pixel = frame.data + (row * frame.width + column) * 3;
    const bool rgb = frame.format == FrameFormat::kRgb;
    for (int c = 0; c < 3; ++c) bgr[c] = pixel[rgb ? 2 - c : c];
    return;
  }
  static const int64_t kFactors[4][6] = {{16, 1220542, 2116026, -409993, -852492, 1673527},
                                         {0, 1048576, 1858077, -360853, -748826, 1470104},
                                         {16, 1220945, 2215014, -223607, -558796, 1879825},
                                         {0, 1048576, 1945738, -196424, -490864, 1651297}};
  const int64_t* f = kFactors[2 * static_cast<int>(frame.matrix) + static_cast<int>(frame.range)];
  const uint8_t* pair = frame.data + frame.width * frame.height + row / 2 * frame.width + column / 2 * 2;
  const int64_t y = frame.data[row * frame.width + column], u = pair[0] - 128, v = pair[1] - 128;
  const int64_t light = (y > f[0] ? y - f[0] : 0) * f[1] + (1 << 19);
  const int64_t sums[3] = {light + f[2] * u, light + f[3] * u + f[4] * v, light + f[5] * v};
  for (int c = 0; c < 3; ++c) {
    const int64_t value = sums[c] >> 20;
    bgr[c] = value < 0 ? 0 : value > 255 ? 255 : value;
  }
}

// Steps 6 to 8 of docs/bundle.md.
void Sample(const ssr::Frame& frame, const ssr::Blend& rows, const ssr::Blend& columns, bool rgb,
            uint8_t* out) {
  const int64_t at[2] = {rows.first, rows.second};
  const int32_t weights[2] = {rows.first_weight, rows.second_weight};
  int64_t sum[3] = {};
  for (int k = 0; k < 2; ++k) {
    int64_t left[3], right[3];
    PixelAt(frame, at[k], columns.first, left), PixelAt(frame, at[k], columns.second, right);
    for (int c = 0; c < 3; ++c) {
      const int64_t along = (left[c] * columns.first_weight + right[c] * columns.second_weight) >> 4;
      sum[c] += along * weights[k] >> 16;
    }
  }
  for (int c = 0; c < 3; ++c) out[rgb ? 2 - c : c] = static_cast<uint8_t>((sum[c] + 2) >> 2);
}

[[noreturn]] void Fault(const std::string& what) {
  std::fprintf(stderr, "fault: %s\n", what.c_str());
  std::abort();
}

ssr::Status Expected(const ssr::Frame& frame, const ssr::Crop& crop, bool rgb, const float* box,
                     const float* landmarks, uint8_t* out) {
  ssr::Blend rows[ssr::kImageSize], columns[ssr::kImageSize];
  ssr::Grid grid = {};
  if (crop.aligned) {
    SSR_RETURN_IF_ERROR(ssr::FindGrid(landmarks, crop, 0, &grid));
    ++reached[kAligned];
  } else {
    ssr::Part part;
    SSR_RETURN_IF_ERROR(ssr::FindPart(box, crop, frame.height, frame.width, 0, &part));
    ssr::FindBlends(part.rows, frame.height, crop.border, rows);
    ssr::FindBlends(part.columns, frame.width, crop.border, columns);
    const bool whole = part.rows.begin >= 0 && part.rows.end <= frame.height && part.columns.begin >= 0 &&
                       part.columns.end <= frame.width;
    if (!whole && crop.border == Border::kClip) Fault("a clipped part beyond the frame");
    ++reached[whole ? kWhole : kBeyond];
  }
  for (int v = 0; v < ssr::kImageSize; ++v) {
    for (int u = 0; u < ssr::kImageSize; ++u, out += 3) {
      if (crop.aligned) {
        columns[u] = ssr::BlendAt(grid.x + u * grid.dx - v * grid.dy, frame.width, crop.border);
        rows[v] = ssr::BlendAt(grid.y + u * grid.dy + v * grid.dx, frame.height, crop.border);
      }
      Sample(frame, rows[v], columns[u], rgb, out);
    }
  }
  return {};
}

void CountRefusal(const std::string& message) {
  static const std::pair<const char*, Fate> kTexts[] = {{"has no area", kNoArea},
                                                        {"lies outside", kOutside},
                                                        {"is too large", kTooLarge},
                                                        {"within 1.67772e+07 pixels", kFar},
                                                        {"beyond 1.67772e+07 pixels", kFar},
                                                        {"no similarity", kOnLine},
                                                        {"on one line", kOnLine}};
  for (const auto& [text, fate] : kTexts) {
    if (message.find(text) != std::string::npos) return void(++reached[fate]);
  }
  Fault("an unknown refusal: " + message);
}

void CheckRows(const ssr::Frame& frame, int64_t row) {
  const std::unique_ptr<uint8_t[]> found(new uint8_t[static_cast<size_t>(frame.width) * 3]);
  ssr::RowToBgr(frame, row, found.get());
  for (int64_t column = 0; column < frame.width; ++column) {
    int64_t expected[3];
    PixelAt(frame, row, column, expected);
    for (int c = 0; c < 3; ++c) {
      if (found[static_cast<size_t>(3 * column + c)] != expected[c]) Fault("RowToBgr has other bits");
    }
  }
}

}  // namespace
}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fuzz;
  Source source(data, size);
  ssr::Frame frame;
  frame.format = static_cast<FrameFormat>(source.Byte() % 3);
  frame.matrix = static_cast<ssr::YuvMatrix>(source.Byte() % 2);
  frame.range = static_cast<ssr::YuvRange>(source.Byte() % 2);
  frame.height = 1 + source.Below(source.Byte() % 2 == 0 ? 6 : 150);
  frame.width = 1 + source.Below(source.Byte() % 2 == 0 ? 6 : 150);
  if (frame.format == FrameFormat::kNv12) frame.height += frame.height % 2, frame.width += frame.width % 2;
  const auto bytes = static_cast<size_t>(ssr::FrameBytes(frame));
  const std::unique_ptr<uint8_t[]> pixels(new uint8_t[bytes]);
  std::minstd_rand random(source.Below(65536) + 1);
  const bool extreme = source.Byte() % 4 == 0;
  for (size_t i = 0; i < bytes; ++i) {
    const unsigned value = static_cast<unsigned>(random() >> 8);
    pixels[i] = static_cast<uint8_t>(extreme ? value % 2 * 255 : value);
  }
  frame.data = pixels.get();
  const ssr::Crop crop = MakeCrop(&source);
  const bool rgb = source.Byte() % 2 == 0;
  const std::unique_ptr<float[]> box(new float[4]), landmarks(new float[2 * ssr::kLandmarks]);
  for (int i = 0; i < 4; ++i) {
    box[i] = source.Number(static_cast<double>(i % 2 == 0 ? frame.width : frame.height));
    if (i >= 2 && source.Byte() % 16 != 0) box[i] = std::fabs(box[i]);
  }
  MakeLandmarks(&source, crop, frame, landmarks.get());
  const int64_t row = source.Below(static_cast<unsigned>(frame.height));

  std::vector<uint8_t> expected(ssr::kImageBytes);
  const ssr::Status status = Expected(frame, crop, rgb, box.get(), landmarks.get(), expected.data());
  if (!status.ok()) CountRefusal(status.message());
  for (const char* implementation : {"portable", "avx2"}) {  // on other machines the best there is
    setenv("SSR_FORCE_IMPLEMENTATION", implementation, 1);
    const std::unique_ptr<uint8_t[]> found(new uint8_t[ssr::kImageBytes]);
    const ssr::Status cut = ssr::CutFaces(frame, crop, rgb, box.get(), landmarks.get(), 1, found.get());
    if (cut.message() != status.message()) Fault("'" + cut.message() + "' is not '" + status.message() + "'");
    if (cut.ok() && std::memcmp(found.get(), expected.data(), ssr::kImageBytes) != 0) {
      Fault(std::string(ssr::CutImplementation()) + " cuts other bits");
    }
    CheckRows(frame, row);
  }
  return 0;
}
