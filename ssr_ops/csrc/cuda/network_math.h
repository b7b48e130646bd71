// What one GPU thread computes of every layer, and where it reads and writes. Plain C++; the kernels around
// it run on the CPU too (tests/cpp/cuda_on_cpu_test.cc). Layouts are those of core/weights.h.
#pragma once

#include <math.h>

#include <cstdint>

#include "core/head.h"
#include "core/weights.h"

namespace ssr::cuda {

// Channels a thread computes and values it reads at once: widths and strides of maps are multiples of it, and
// all that is read so begins at a multiple of 16 bytes.
constexpr int kVector = 4;
static_assert(kChannelPad % kVector == 0);

SSR_HOST_DEVICE inline float Larger(float a, float b) { return a > b ? a : b; }

SSR_HOST_DEVICE inline void Load(const float* from, float (&to)[kVector]) {
#ifdef __CUDA_ARCH__
  const float4 values = *reinterpret_cast<const float4*>(from);
  to[0] = values.x, to[1] = values.y, to[2] = values.z, to[3] = values.w;
#else
  for (int i = 0; i < kVector; ++i) to[i] = from[i];
#endif
}

SSR_HOST_DEVICE inline void Load(const uint8_t* from, float (&to)[1]) { to[0] = static_cast<float>(*from); }

SSR_HOST_DEVICE inline void Store(const float (&from)[kVector], float* to) {
#ifdef __CUDA_ARCH__
  *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
#else
  for (int i = 0; i < kVector; ++i) to[i] = from[i];
#endif
}

// Threads that a convolution takes for one image, and what thread `index` of them writes: kVector channels of
// one pixel of the output, after the activation and, before the last block, the 2x2 pool (average for X,
// maximum for S). In: uint8_t for the picture, else float; size: side of the input.
SSR_HOST_DEVICE inline int ConvolutionThreads(const Convolution& layer, int side) {
  return side * side * (layer.width / kVector);
}

template <bool kIsX, bool kPooled, typename In>
SSR_HOST_DEVICE inline void Convolve(const Convolution& layer, const In* in, int size, int side, int index,
                                     float* out) {
  constexpr int kSide = kPooled ? 2 : 1;                  // outputs before the pool
  constexpr int kInputs = sizeof(In) == 1 ? 1 : kVector;  // read at once
  const int groups = layer.width / kVector, pixel = index / groups, channel = index % groups * kVector;
  const int row = pixel / side * kSide, column = pixel % side * kSide, stride = layer.in_stride;
  const In* corner = in + (int64_t{row} * size + column) * stride;
  float sum[kSide][kSide][kVector];
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) Load(layer.bias + channel, sum[y][x]);
  }
  for (int ky = 0; ky < 3; ++ky) {
    const float* weights = layer.weights + int64_t{ky} * 3 * stride * layer.width + channel;
    const In* line = corner + int64_t{ky} * size * stride;
    for (int j = 0; j < 3 * stride; j += kInputs) {
      float values[kSide][kSide][kInputs];
      for (int y = 0; y < kSide; ++y) {
        for (int x = 0; x < kSide; ++x) Load(line + (y * size + x) * stride + j, values[y][x]);
      }
      for (int i = 0; i < kInputs; ++i, weights += layer.width) {
        float weight[kVector];
        Load(weights, weight);
        for (int y = 0; y < kSide; ++y) {
          for (int x = 0; x < kSide; ++x) {
            for (int c = 0; c < kVector; ++c) sum[y][x][c] += values[y][x][i] * weight[c];
          }
        }
      }
    }
  }
  constexpr int kLast = kSide - 1;
  float result[kVector];
  for (int c = 0; c < kVector; ++c) {
    const float a = sum[0][0][c], b = sum[0][kLast][c], d = sum[kLast][0][c], e = sum[kLast][kLast][c];
    if (!kPooled) {
      result[c] = kIsX ? Larger(a, 0.0f) : tanhf(a);
    } else if (kIsX) {
      result[c] = ((Larger(a, 0.0f) + Larger(b, 0.0f)) + (Larger(d, 0.0f) + Larger(e, 0.0f))) * 0.25f;
    } else {
      result[c] = tanhf(Larger(Larger(a, b), Larger(d, e)));  // tanh is monotone
    }
  }
  Store(result, out + int64_t{pixel} * layer.width + channel);
}

// Side of the square of pixels that a stage's fusion block reads; its pool leaves stage.side of them.
SSR_HOST_DEVICE inline int FusedSide(const StageWeights& stage) { return stage.side * stage.pool; }

// The same for a fusion block's 1x1 convolution and ReLU, before its pool. in: the map of its level.
SSR_HOST_DEVICE inline int FusionThreads(const NetworkWeights& network, const StageWeights& stage) {
  return FusedSide(stage) * FusedSide(stage) * (network.width_fusion / kVector);
}

template <bool kIsX>
SSR_HOST_DEVICE inline void Fuse(const NetworkWeights& network, const StageWeights& stage, const float* in,
                                 int index, float* out) {
  const int fusion = network.width_fusion, width = kIsX ? network.width_x : network.width_s;
  const int pixel = index / (fusion / kVector), feature = index % (fusion / kVector) * kVector;
  const int side = FusedSide(stage), row = pixel / side, column = pixel % side;
  const float* values = in + (int64_t{row} * MapSize(stage.level - 1) + column) * width;
  const float* weights = (kIsX ? stage.fuse_x : stage.fuse_s) + feature;
  float sum[kVector];
  Load((kIsX ? stage.fuse_x_bias : stage.fuse_s_bias) + feature, sum);
  for (int c = 0; c < width; c += kVector) {
    float value[kVector];
    Load(values + c, value);
    for (int i = 0; i < kVector; ++i, weights += fusion) {
      float weight[kVector];
      Load(weights, weight);
      for (int f = 0; f < kVector; ++f) sum[f] += value[i] * weight[f];
    }
  }
  for (int f = 0; f < kVector; ++f) sum[f] = Larger(sum[f], 0.0f);
  Store(sum, out + int64_t{pixel} * fusion + feature);
}

// Features of a stage: side * side * width_fusion.
SSR_HOST_DEVICE inline int Features(const NetworkWeights& network, const StageWeights& stage) {
  return stage.side * stage.side * network.width_fusion;
}

// Feature `index` out of the fusion block's pool: average for X, maximum for S. in: what Fuse wrote.
template <bool kIsX>
SSR_HOST_DEVICE inline float PooledFeature(const NetworkWeights& network, const StageWeights& stage,
                                           const float* in, int index) {
  const int fusion = network.width_fusion, cell = index / fusion, pool = stage.pool;
  const int row = cell / stage.side * pool, column = cell % stage.side * pool;
  const float* corner = in + (int64_t{row} * FusedSide(stage) + column) * fusion + index % fusion;
  float pooled = 0;  // ReLU leaves nothing below
  for (int y = 0; y < pool; ++y) {
    for (int x = 0; x < pool; ++x) {
      const float value = corner[(y * FusedSide(stage) + x) * fusion];
      pooled = kIsX ? pooled + value : Larger(pooled, value);
    }
  }
  return kIsX ? pooled / static_cast<float>(pool * pool) : pooled;
}

// Row `row` of a stage's dots: delta, then bins_x, then bins_s; of its terms the share of `lane` of `lanes`.
// x, s: the stage's features.
SSR_HOST_DEVICE inline float DotShare(const StageWeights& stage, int count, const float* x, const float* s,
                                      int row, int lane, int lanes) {
  float sum = 0;
  if (row == 0) {
    for (int i = lane; i < count; i += lanes) sum += x[i] * s[i] * stage.delta[i];
    return sum;
  }
  const bool is_x = row <= stage.bins;
  const float* weights =
      is_x ? stage.bins_x + int64_t{row - 1} * count : stage.bins_s + int64_t{row - 1 - stage.bins} * count;
  const float* features = is_x ? x : s;
  for (int i = lane; i < count; i += lanes) sum += features[i] * weights[i];
  return sum;
}

// Where everything of one image lies in a workspace of floats; all images have the same plan, and every part
// but dots begins at a multiple of 16 floats.
struct Plan {
  int64_t x[4], s[4];              // feature maps after each block
  int64_t fused_x[4], fused_s[4];  // of each stage, before the pool
  int64_t fx[4], fs[4];            // features of each stage
  int64_t dots[4];                 // of each stage, contiguous
  int64_t floats;                  // for one image
};

inline Plan MakePlan(const NetworkWeights& network) {
  Plan plan = {};
  const auto take = [&plan](int64_t count) {
    const int64_t at = plan.floats;
    plan.floats += count;
    return at;
  };
  for (int block = 0; block < 4; ++block) {
    const int64_t pixels = int64_t{MapSize(block)} * MapSize(block);
    plan.x[block] = take(pixels * network.width_x);
    plan.s[block] = take(pixels * network.width_s);
  }
  for (int k = 0; k < network.num_stages; ++k) {
    const StageWeights& stage = network.stages[k];
    const int64_t pixels = int64_t{FusedSide(stage)} * FusedSide(stage);
    plan.fused_x[k] = take(pixels * network.width_fusion);
    plan.fused_s[k] = take(pixels * network.width_fusion);
    plan.fx[k] = take(Features(network, stage));
    plan.fs[k] = take(Features(network, stage));
  }
  for (int k = 0; k < network.num_stages; ++k) plan.dots[k] = take(1 + 2 * network.stages[k].bins);
  plan.floats = (plan.floats + 15) / 16 * 16;
  return plan;
}

}  // namespace ssr::cuda
