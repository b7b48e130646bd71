// Pictures shrunk by area means, as ssr_ops.detector_reference.shrunk: cv2.INTER_AREA in whole numbers.
#pragma once

#include <cstdint>
#include <vector>

namespace ssr {

// The pixels of a side's part: the first and the last by their weights, those between by Parts::count. All in
// units of 1 / count of a pixel; a part has `source` units.
struct Part {
  int64_t first, last;  // indices
  int32_t first_weight, last_weight;
};

// A side of pixels cut into equal parts.
class Parts {
 public:
  void Cut(int64_t pixels, int64_t parts);

  int64_t source, count;  // pixels and parts without their common divisor
  std::vector<Part> parts;
};

class Shrinker {
 public:
  // in: (height, width, 3); out: (rows, columns, 3), neither side larger. Each value is its area's mean,
  // rounded to nearest, halves up. Sides of at most 2^24 pixels. Keeps its memory for the next.
  void Shrink(const uint8_t* in, int64_t height, int64_t width, int64_t rows, int64_t columns, uint8_t* out);

 private:
  Parts down_, across_;
  // One row of the result, all columns of the picture.
  std::vector<uint16_t> shorts_;
  std::vector<uint32_t> sums_;
  std::vector<float> floats_;
};

}  // namespace ssr
