// Pictures shrunk by area means, as ssr_ops.detector_reference.shrunk: cv2.INTER_AREA in whole numbers.
#pragma once

#include <cstdint>
#include <vector>

namespace ssr {

// What a picture is cut into along one side: equal parts of `source` pixels, in units that both counts share.
struct Parts {
  Parts(int64_t source, int64_t count);
  int64_t source, count;  // without their common divisor
};

class Shrinker {
 public:
  // in: (height, width, 3); out: (rows, columns, 3), neither side larger. Each value is its area's mean,
  // rounded to nearest, halves up. Every number of 255 height * width must fit 63 bits. Keeps its memory for
  // the next.
  void Shrink(const uint8_t* in, int64_t height, int64_t width, int64_t rows, int64_t columns, uint8_t* out);

 private:
  std::vector<uint32_t> sums_;  // one row of the result, all columns of the picture
};

}  // namespace ssr
