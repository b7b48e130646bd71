// The network's kernel, written once over a small vector type `Vec` and compiled per instruction set.
// Include inside an unnamed namespace, after `Vec` and `Tuning`; see network_avx512.cc.
//
// Vec: kLanes; Load, Store, Broadcast, Bytes (uint8 to float), + - * /, Fma(a, b, c) = a * b + c, Max, Min,
// Abs, CopySign(magnitude, sign), ShiftLeft23 and AddBits on the lanes' bit patterns.
// Tuning: the register block of each kind of layer, in vectors of channels and columns of pixels.
//
// Feature maps are (row, column, padded channel). Channels lie in the lanes; a register block covers two
// rows and some columns, so that a 2x2 pool happens in registers. Outputs that no pool reads are not
// computed.

#define SSR_INLINE inline __attribute__((always_inline))
#define SSR_UNROLL _Pragma("GCC unroll 32")
#define SSR_ROLLED _Pragma("GCC unroll 1")  // an unrolled reduction would spill the sums

#include "cpu/tanh.inl.h"

SSR_INLINE void TanhInPlace(float* values, int64_t count) {
  for (int64_t i = 0; i < count; i += Vec::kLanes) Tanh(Vec::Load(values + i)).Store(values + i);
}

// A 2x2 pool of sums: the mean of ReLU for X, the maximum for S.
template <bool kIsX>
SSR_INLINE Vec Pool(Vec a, Vec b, Vec c, Vec d) {
  if (!kIsX) return Vec::Max(Vec::Max(a, b), Vec::Max(c, d));
  const Vec zero = Vec::Broadcast(0.0f);
  const Vec above = Vec::Max(a, zero) + Vec::Max(b, zero), below = Vec::Max(c, zero) + Vec::Max(d, zero);
  return (above + below) * Vec::Broadcast(0.25f);
}

#include "cpu/direct.inl.h"
#include "cpu/first_block.inl.h"
#include "cpu/winograd.inl.h"

// One stream's layer over a (kSize, kSize) input.
template <bool kIsX, int kSize, bool kPooled>
void Convolve(const float* in, const Convolution& layer, float* work, float* out) {
  if constexpr (kPooled) {
    constexpr int kReleased = kIsX ? kReleasedX : kReleasedS;
    if (layer.winograd) return ConvolveWinograd<kIsX, kReleased, kSize>(in, layer, work, out);
  }
  ConvolveDirect<kIsX, kSize, kPooled>(in, layer, out);
}

// A 1x1 convolution with ReLU and a kPool x kPool pool (average for X, maximum for S; 1: none), for one
// vector of fusion channels. in: (size, size, width); out: (side, side, fusion).
template <bool kIsX, int kPool, int kStride>
void FuseVector(const float* in, int size, int width, const float* weights, const float* bias, int fusion,
                int side, float* out) {
  constexpr int kRows = kPool == 1 ? 1 : 2, kColumns = kPool == 1 ? 4 : kPool;
  const int stride = kStride > 0 ? kStride : width;
  const Vec b = Vec::Load(bias), zero = Vec::Broadcast(0.0f);
  const Vec scale = Vec::Broadcast(1.0f / (kPool * kPool));
  const int cells = kPool == 1 ? side / kColumns : side;  // without a pool, a block is four cells
  for (int y = 0; y < side; ++y) {
    for (int cell = 0; cell < cells; ++cell) {
      Vec total = zero;
      for (int row = 0; row < kPool; row += kRows) {
        const float* upper = in + (int64_t{y * kPool + row} * size + cell * kColumns) * stride;
        const float* lower = kRows == 2 ? upper + int64_t{size} * stride : upper;
        Vec sum[kRows][kColumns];
        SSR_UNROLL for (int r = 0; r < kRows; ++r) {
          SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[r][c] = b;
        }
        for (int i = 0; i < width; ++i) {
          const Vec w = Vec::Load(weights + int64_t{i} * fusion);
          SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
            sum[0][c] = Vec::Fma(Vec::Broadcast(upper[i + c * stride]), w, sum[0][c]);
            if (kRows == 2) {
              sum[kRows - 1][c] = Vec::Fma(Vec::Broadcast(lower[i + c * stride]), w, sum[kRows - 1][c]);
            }
          }
        }
        SSR_UNROLL for (int r = 0; r < kRows; ++r) {
          SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
            const Vec value = Vec::Max(sum[r][c], zero);
            if (kPool == 1) {
              value.Store(out + int64_t{y * side + cell * kColumns + c} * fusion);
            } else {
              total = kIsX ? total + value : Vec::Max(total, value);
            }
          }
        }
      }
      if (kPool > 1) (kIsX ? total * scale : total).Store(out + int64_t{y * side + cell} * fusion);
    }
  }
}

template <bool kIsX, int kPool>
void Fuse(const float* in, int size, int width, const float* weights, const float* bias, int fusion, int side,
          float* out) {
  constexpr int kReleased = kIsX ? kReleasedX : kReleasedS;
  for (int v = 0; v < fusion; v += Vec::kLanes) {
    if (width == kReleased) {
      FuseVector<kIsX, kPool, kReleased>(in, size, width, weights + v, bias + v, fusion, side, out + v);
    } else {
      FuseVector<kIsX, kPool, 0>(in, size, width, weights + v, bias + v, fusion, side, out + v);
    }
  }
}

template <bool kIsX>
void FuseStage(const NetworkWeights& network, const StageWeights& stage, const float* in, int size,
               float* out) {
  const int width = kIsX ? network.width_x : network.width_s, fusion = network.width_fusion;
  const float* weights = kIsX ? stage.fuse_x : stage.fuse_s;
  const float* bias = kIsX ? stage.fuse_x_bias : stage.fuse_s_bias;
  switch (stage.pool) {
    case 1:
      return Fuse<kIsX, 1>(in, size, width, weights, bias, fusion, stage.side, out);
    case 2:
      return Fuse<kIsX, 2>(in, size, width, weights, bias, fusion, stage.side, out);
    case 4:
      return Fuse<kIsX, 4>(in, size, width, weights, bias, fusion, stage.side, out);
    default:
      return Fuse<kIsX, 8>(in, size, width, weights, bias, fusion, stage.side, out);
  }
}

SSR_INLINE float SumLanes(Vec v) {
  alignas(64) float lanes[Vec::kLanes];
  v.Store(lanes);
  for (int half = Vec::kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// dots[row] = sum of weights[row] * features
void Dense(const float* weights, const float* features, int64_t count, int rows, float* dots) {
  for (int row = 0; row < rows; ++row, weights += count) {
    Vec sum = Vec::Broadcast(0.0f);
    for (int64_t i = 0; i < count; i += Vec::kLanes) {
      sum = Vec::Fma(Vec::Load(weights + i), Vec::Load(features + i), sum);
    }
    dots[row] = SumLanes(sum);
  }
}

// See SumStageKernel.
float* SumStage(const StageWeights& stage, int64_t count, const float* fx, const float* fs, float* product,
                float* dots) {
  for (int64_t i = 0; i < count; i += Vec::kLanes) {
    (Vec::Load(fs + i) * Vec::Load(fx + i)).Store(product + i);
  }
  Dense(stage.delta, product, count, 1, dots);
  Dense(stage.bins_x, fx, count, stage.bins, dots + 1);
  Dense(stage.bins_s, fs, count, stage.bins, dots + 1 + stage.bins);
  return dots + 1 + 2 * stage.bins;
}

void RunNetwork(const NetworkWeights& network, const uint8_t* image, float* scratch, float* dots) {
  float* work = scratch;
  scratch += kWorkFloats;
  float *x[4], *s[4];
  for (int level = 0; level < 4; ++level) {
    x[level] = scratch;
    s[level] = x[level] + kMapSizes[level] * kMapSizes[level] * network.width_x;
    scratch = s[level] + kMapSizes[level] * kMapSizes[level] * network.width_s;
  }
  ConvolveFirst(network, image, work, x[0], s[0]);
  SSR_LAYER_DONE();
  Convolve<true, kMap0, true>(x[0], network.x[1], work, x[1]);
  SSR_LAYER_DONE();
  Convolve<false, kMap0, true>(s[0], network.s[1], work, s[1]);
  SSR_LAYER_DONE();
  Convolve<true, kMap1, true>(x[1], network.x[2], work, x[2]);
  SSR_LAYER_DONE();
  Convolve<false, kMap1, true>(s[1], network.s[2], work, s[2]);
  SSR_LAYER_DONE();
  Convolve<true, kMap2, false>(x[2], network.x[3], work, x[3]);
  SSR_LAYER_DONE();
  Convolve<false, kMap2, false>(s[2], network.s[3], work, s[3]);
  SSR_LAYER_DONE();
  for (int k = 0; k < network.num_stages; ++k) {
    const StageWeights& stage = network.stages[k];
    const int level = stage.level - 1;
    const int64_t count = int64_t{stage.side} * stage.side * network.width_fusion;
    float *fx = scratch, *fs = fx + count, *product = fs + count;
    FuseStage<true>(network, stage, x[level], kMapSizes[level], fx);
    FuseStage<false>(network, stage, s[level], kMapSizes[level], fs);
    dots = SumStage(stage, count, fx, fs, product, dots);
    SSR_LAYER_DONE();
  }
}

#undef SSR_ROLLED
#undef SSR_UNROLL
#undef SSR_INLINE
