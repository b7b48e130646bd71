// One output value at a time of every layer: what a GPU thread computes. Plain C++, so that the arithmetic
// is tested on the CPU too (tests/cpp/network_math_test.cc). Layouts are those of cpu/network.h.
#pragma once

#include <math.h>

#include <cstdint>

#include "core/head.h"
#include "cpu/network.h"

namespace ssr::cuda {

using cpu::Convolution;
using cpu::NetworkWeights;
using cpu::StageWeights;

// Side of the feature map after each block, and of its input.
SSR_HOST_DEVICE constexpr int OutputSize(int block) {
  return block == 0 ? 31 : block == 1 ? 14 : block == 2 ? 6 : 4;
}
SSR_HOST_DEVICE constexpr int InputSize(int block) { return block == 0 ? 64 : OutputSize(block - 1); }

SSR_HOST_DEVICE inline float Larger(float a, float b) { return a > b ? a : b; }

// Convolution, activation and, before the last block, a 2x2 pool: output (row, column, channel) of one image.
// In: uint8_t for the picture, else float.
template <bool kIsX, bool kPooled, typename In>
SSR_HOST_DEVICE inline float ConvolutionOutput(const Convolution& layer, const In* in, int size, int row,
                                               int column, int channel) {
  constexpr int kSide = kPooled ? 2 : 1;
  const int stride = layer.in_stride;
  const In* corner = in + (int64_t{row} * kSide * size + column * kSide) * stride;
  float sum[kSide][kSide];
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) sum[y][x] = layer.bias[channel];
  }
  for (int ky = 0; ky < 3; ++ky) {
    const float* weights = layer.weights + int64_t{ky} * 3 * stride * layer.width + channel;
    for (int j = 0; j < 3 * stride; ++j, weights += layer.width) {
      for (int y = 0; y < kSide; ++y) {
        const In* from = corner + int64_t{ky + y} * size * stride + j;
        for (int x = 0; x < kSide; ++x) sum[y][x] += static_cast<float>(from[x * stride]) * *weights;
      }
    }
  }
  if (!kPooled) return kIsX ? Larger(sum[0][0], 0.0f) : tanhf(sum[0][0]);
  constexpr int kLast = kSide - 1;
  if (!kIsX) {  // tanh is monotone
    return tanhf(Larger(Larger(sum[0][0], sum[0][kLast]), Larger(sum[kLast][0], sum[kLast][kLast])));
  }
  return ((Larger(sum[0][0], 0.0f) + Larger(sum[0][kLast], 0.0f)) +
          (Larger(sum[kLast][0], 0.0f) + Larger(sum[kLast][kLast], 0.0f))) *
         0.25f;
}

// 1x1 convolution, ReLU, head pool (average for X, maximum for S): feature `f` of pooled cell (row, column).
template <bool kIsX>
SSR_HOST_DEVICE inline float FusionOutput(const NetworkWeights& network, const StageWeights& stage,
                                          const float* in, int row, int column, int f) {
  const int size = OutputSize(stage.level - 1), width = kIsX ? network.width_x : network.width_s;
  const float* weights = (kIsX ? stage.fuse_x : stage.fuse_s) + f;
  const float bias = (kIsX ? stage.fuse_x_bias : stage.fuse_s_bias)[f];
  float pooled = 0;
  for (int y = row * stage.pool; y < (row + 1) * stage.pool; ++y) {
    for (int x = column * stage.pool; x < (column + 1) * stage.pool; ++x) {
      const float* pixel = in + (int64_t{y} * size + x) * width;
      float sum = bias;
      for (int c = 0; c < width; ++c) sum += pixel[c] * weights[int64_t{c} * network.width_fusion];
      sum = Larger(sum, 0.0f);
      pooled = kIsX ? pooled + sum : Larger(pooled, sum);
    }
  }
  return kIsX ? pooled / static_cast<float>(stage.pool * stage.pool) : pooled;
}

// Row `row` of a stage's dots: delta, then bins_x, then bins_s. x, s: the stage's features.
SSR_HOST_DEVICE inline float DotOutput(const NetworkWeights& network, const StageWeights& stage,
                                       const float* x, const float* s, int row) {
  const int count = stage.side * stage.side * network.width_fusion;
  float sum = 0;
  if (row == 0) {
    for (int i = 0; i < count; ++i) sum += x[i] * s[i] * stage.delta[i];
    return sum;
  }
  const bool is_x = row <= stage.bins;
  const float* weights =
      is_x ? stage.bins_x + int64_t{row - 1} * count : stage.bins_s + int64_t{row - 1 - stage.bins} * count;
  const float* features = is_x ? x : s;
  for (int i = 0; i < count; ++i) sum += features[i] * weights[i];
  return sum;
}

// Where everything of one image lies in a workspace of floats; all images have the same plan.
struct Plan {
  int64_t x[4], s[4];    // feature maps after each block
  int64_t fx[4], fs[4];  // features of each stage
  int64_t dots[4];       // of each stage, contiguous
  int64_t floats;        // for one image
};

inline Plan MakePlan(const NetworkWeights& network) {
  Plan plan = {};
  const auto take = [&plan](int64_t count) {
    const int64_t at = plan.floats;
    plan.floats += count;
    return at;
  };
  for (int block = 0; block < 4; ++block) {
    const int64_t pixels = int64_t{OutputSize(block)} * OutputSize(block);
    plan.x[block] = take(pixels * network.width_x);
    plan.s[block] = take(pixels * network.width_s);
  }
  for (int k = 0; k < network.num_stages; ++k) {
    const int64_t count = int64_t{network.stages[k].side} * network.stages[k].side * network.width_fusion;
    plan.fx[k] = take(count);
    plan.fs[k] = take(count);
  }
  for (int k = 0; k < network.num_stages; ++k) plan.dots[k] = take(1 + 2 * network.stages[k].bins);
  plan.floats = (plan.floats + 15) / 16 * 16;
  return plan;
}

}  // namespace ssr::cuda
