// Pictures shrunk by area means, as ssr_ops.detector_reference.shrunk: cv2.INTER_AREA in whole numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/shrink_kernels.h"
#include "ssr/implementation.h"

namespace ssr::cpu {

// A side of pixels cut into equal parts.
class Parts {
 public:
  void Cut(int64_t pixels, int64_t parts);

  int64_t source, count;  // pixels and parts without their common divisor
  std::vector<Part> parts;
};

class Shrinker {
 public:
  explicit Shrinker(Isa isa);

  // in: (height, width, 3); out: (rows, columns, 3), neither side larger. Each value is its area's mean,
  // rounded to nearest, halves up. Sides of at most 2^24 pixels, fewer than 2^42 in all. Keeps its memory for
  // the next.
  void Shrink(const uint8_t* in, int64_t height, int64_t width, int64_t rows, int64_t columns, uint8_t* out);

 private:
  // Fills first_, weights_ and pairs_ from across_.
  void PairPixels();

  const ShrinkKernels& kernels_;
  Parts down_, across_;
  std::vector<int32_t> first_;  // these as in ShrunkRow
  std::vector<uint32_t> weights_;
  int64_t pairs_;
  std::vector<uint8_t> work_;
};

}  // namespace ssr::cpu
