// NV12's numbers to colours, in whole numbers: ssr_bundle/nv12.py is the definition.
#pragma once

#include <cstdint>

#include "ssr/frame.h"

namespace ssr {

constexpr int kYuvBits = 20;  // after the point of the factors

// What a step of luma (above black), of U and of V adds to blue, green and red.
struct YuvFactors {
  int32_t black, luma, u_blue, u_green, v_green, v_red;
};

const YuvFactors& FactorsOf(YuvMatrix matrix, YuvRange range);

// Chroma before 128 is taken off. Blue in the lowest byte, green, red, 0. Static: a copy for each
// instruction set.
static inline uint32_t YuvPixel(int32_t y, int32_t u, int32_t v, const YuvFactors& f) {
  const int32_t above = y > f.black ? y - f.black : 0;
  const int32_t light = above * f.luma + (1 << (kYuvBits - 1));
  u -= 128, v -= 128;
  const auto byte = [](int32_t value) -> uint32_t {
    value >>= kYuvBits;
    return static_cast<uint32_t>(value < 0 ? 0 : value > 255 ? 255 : value);
  };
  return byte(light + f.u_blue * u) | byte(light + f.u_green * u + f.v_green * v) << 8 |
         byte(light + f.v_red * v) << 16;
}

}  // namespace ssr
