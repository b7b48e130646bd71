// Which pixels of a frame a crop shows, and how much of each: ssr_bundle/crop.py, alignment.py and
// sampling.py, to the bit. Compiled without fused multiply-adds.
#pragma once

#include <cstdint>

#include "ssr/crop.h"
#include "ssr/maps.h"
#include "ssr/status.h"

namespace ssr {

constexpr int kWeightBits = 11;    // of a pixel's share
constexpr int kPositionBits = 20;  // after the point of a position in the frame

// Pixels begin..end - 1 along an axis; they may lie beyond the frame.
struct Span {
  int64_t begin, end;
};

struct Part {
  Span rows, columns;
};

// A pixel of the crop is a blend of two pixels along an axis, both in the frame. Weights are in 1 / 2048, and
// 0 of what is black.
struct Blend {
  int64_t first, second;
  int32_t first_weight, second_weight;
};

// Where the centre of the crop's pixel (u, v) lies: at x + u * dx - v * dy, y + u * dy + v * dx, in pixels
// times 2 ^ kPositionBits from the centre of the frame's first pixel.
struct Grid {
  int64_t x, y, dx, dy;
};

// Whether five points lie on a line, or on one spot.
bool IsLine(const double points[kLandmarks][2]);

// What the box (x, y, width, height) of face `m` cuts from a frame of height x width.
Status FindPart(const float* box, const Crop& crop, int64_t height, int64_t width, int64_t m, Part* part);

// How the landmarks of face `m` come to lie on the template.
Status FindGrid(const float* landmarks, const Crop& crop, int64_t m, Grid* grid);

// The crop's kImageSize pixels along an axis of `span`, in a frame with `size` pixels along it.
void FindBlends(const Span& span, int64_t size, Border border, Blend* blends);

// The pixels around a position, likewise. Static: a copy for each instruction set.
static inline Blend BlendAt(int64_t position, int64_t size, Border border) {
  const int64_t first = position >> kPositionBits, second = first + 1, last = size - 1;
  const auto weight =
      static_cast<int32_t>(position >> (kPositionBits - kWeightBits) & ((1 << kWeightBits) - 1));
  const auto within = [=](int64_t i) { return i < 0 ? 0 : i > last ? last : i; };
  const auto shows = [=](int64_t i) { return border != Border::kConstant || (i >= 0 && i <= last) ? 1 : 0; };
  return {within(first), within(second), shows(first) * ((1 << kWeightBits) - weight),
          shows(second) * weight};
}

}  // namespace ssr
