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

// Absolute error at most 1.2e-7: tanh |v| = (1 - e) / (1 + e) with e = exp(-2 |v|) = 2^n 2^f.
SSR_INLINE Vec Tanh(Vec v) {
  const Vec one = Vec::Broadcast(1.0f);
  const Vec exponent = Vec::Min(Vec::Abs(v), Vec::Broadcast(10.0f)) * Vec::Broadcast(-2.8853900817779268f);
  const Vec magic = Vec::Broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  const Vec shifted = exponent + magic;
  const Vec f = exponent - (shifted - magic);
  Vec power = Vec::Broadcast(1.534580215e-04f);  // 2^f on [-1/2, 1/2], relative error 2e-9
  power = Vec::Fma(power, f, Vec::Broadcast(1.339993114e-03f));
  power = Vec::Fma(power, f, Vec::Broadcast(9.618488994e-03f));
  power = Vec::Fma(power, f, Vec::Broadcast(5.550328777e-02f));
  power = Vec::Fma(power, f, Vec::Broadcast(2.402264689e-01f));
  power = Vec::Fma(power, f, Vec::Broadcast(6.931472057e-01f));
  power = Vec::Fma(power, f, one);
  const Vec e = Vec::AddBits(power, Vec::ShiftLeft23(shifted));
  return Vec::CopySign((one - e) / (one + e), v);
}

SSR_INLINE void TanhInPlace(float* values, int64_t count) {
  for (int64_t i = 0; i < count; i += Vec::kLanes) Tanh(Vec::Load(values + i)).Store(values + i);
}

// Where a layer of one stream reads its weights and writes its outputs.
struct Side {
  const float* weights = nullptr;
  const float* bias = nullptr;
  float* out = nullptr;
  int width = 0;        // channels of the layer: floats a pixel of the output, and a row of the weights
  int64_t out_row = 0;  // floats a row of the output
};

// Outputs (two rows) x kColumns: kX vectors of X channels (ReLU), kS vectors of S channels (tanh, which is
// left to the caller: it is monotone, so the maximum comes first). kStride: floats an input pixel, 0 if
// known only at run time. kPooled: a 2x2 pool follows, average for X, maximum for S.
template <int kX, int kS, int kColumns, int kStride, bool kPooled>
SSR_INLINE void ConvolveBlock(const float* in, int64_t in_row, int in_stride, const Side& x, const Side& s) {
  constexpr int kV = kX + kS;
  const int stride = kStride > 0 ? kStride : in_stride;
  const float *weights_x = x.weights, *weights_s = s.weights;
  Vec sum[2][kColumns][kV];
  SSR_UNROLL for (int v = 0; v < kV; ++v) {
    const Vec b = Vec::Load(v < kX ? x.bias + v * Vec::kLanes : s.bias + (v - kX) * Vec::kLanes);
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[0][c][v] = sum[1][c][v] = b;
  }
  SSR_ROLLED for (int ky = 0; ky < 3; ++ky) {
    const float* upper = in + ky * in_row;
    const float* lower = upper + in_row;
    SSR_ROLLED for (int j = 0; j < 3 * stride; ++j) {
      Vec w[kV];
      SSR_UNROLL for (int v = 0; v < kV; ++v) {
        w[v] = Vec::Load(v < kX ? weights_x + v * Vec::kLanes : weights_s + (v - kX) * Vec::kLanes);
      }
      if (kX > 0) weights_x += x.width;
      if (kS > 0) weights_s += s.width;
      SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
        const Vec a = Vec::Broadcast(upper[j + c * stride]);
        SSR_UNROLL for (int v = 0; v < kV; ++v) sum[0][c][v] = Vec::Fma(a, w[v], sum[0][c][v]);
      }
      SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
        const Vec a = Vec::Broadcast(lower[j + c * stride]);
        SSR_UNROLL for (int v = 0; v < kV; ++v) sum[1][c][v] = Vec::Fma(a, w[v], sum[1][c][v]);
      }
    }
  }
  const Vec zero = Vec::Broadcast(0.0f);
  if constexpr (kPooled) {
    static_assert(kColumns % 2 == 0, "a 2x2 pool needs an even number of columns");
    const Vec quarter = Vec::Broadcast(0.25f);
    SSR_UNROLL for (int c = 0; c < kColumns; c += 2) {
      SSR_UNROLL for (int v = 0; v < kX; ++v) {
        const Vec above = Vec::Max(sum[0][c][v], zero) + Vec::Max(sum[0][c + 1][v], zero);
        const Vec below = Vec::Max(sum[1][c][v], zero) + Vec::Max(sum[1][c + 1][v], zero);
        ((above + below) * quarter).Store(x.out + c / 2 * x.width + v * Vec::kLanes);
      }
      SSR_UNROLL for (int v = kX; v < kV; ++v) {
        const Vec above = Vec::Max(sum[0][c][v], sum[0][c + 1][v]);
        const Vec below = Vec::Max(sum[1][c][v], sum[1][c + 1][v]);
        Vec::Max(above, below).Store(s.out + c / 2 * s.width + (v - kX) * Vec::kLanes);
      }
    }
  } else {
    SSR_UNROLL for (int r = 0; r < 2; ++r) {
      SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
        SSR_UNROLL for (int v = 0; v < kX; ++v) {
          Vec::Max(sum[r][c][v], zero).Store(x.out + r * x.out_row + c * x.width + v * Vec::kLanes);
        }
        SSR_UNROLL for (int v = kX; v < kV; ++v) {
          sum[r][c][v].Store(s.out + r * s.out_row + c * s.width + (v - kX) * Vec::kLanes);
        }
      }
    }
  }
}

// As many blocks of kColumns as fit into columns [column, end); returns the first column left over.
template <int kX, int kS, int kColumns, int kStride, bool kPooled>
SSR_INLINE int ConvolveColumns(const float* in, int64_t in_row, int in_stride, int column, int end, Side x,
                               Side s) {
  constexpr int kShrink = kPooled ? 2 : 1;
  x.out += column / kShrink * x.width;
  s.out += column / kShrink * s.width;
  for (; column + kColumns <= end; column += kColumns) {
    ConvolveBlock<kX, kS, kColumns, kStride, kPooled>(in + column * in_stride, in_row, in_stride, x, s);
    x.out += kColumns / kShrink * x.width;
    s.out += kColumns / kShrink * s.width;
  }
  return column;
}

// All (an even number of) columns of two rows: wide blocks, then narrower ones for the rest.
template <int kX, int kS, int kColumns, int kStride, bool kPooled>
void ConvolveRows(const float* in, int64_t in_row, int in_stride, int columns, const Side& x, const Side& s) {
  int column = 0;
  column = ConvolveColumns<kX, kS, kColumns, kStride, kPooled>(in, in_row, in_stride, column, columns, x, s);
  if constexpr (kColumns > 4) {
    column = ConvolveColumns<kX, kS, 4, kStride, kPooled>(in, in_row, in_stride, column, columns, x, s);
  }
  if constexpr (kColumns > 2) {
    ConvolveColumns<kX, kS, 2, kStride, kPooled>(in, in_row, in_stride, column, columns, x, s);
  }
}

// One stream's layer over a (size, size) input.
template <bool kIsX, int kVectors, int kColumns, int kStride, bool kPooled>
void ConvolveLayer(const float* in, int size, const Convolution& layer, float* out) {
  const int outputs = kPooled ? (size - 2) / 2 * 2 : size - 2;
  const int64_t in_row = int64_t{size} * layer.in_stride;
  const int64_t out_row = int64_t{kPooled ? outputs / 2 : outputs} * layer.width;
  for (int y = 0; y < outputs; y += 2) {
    for (int channel = 0; channel < layer.width; channel += kVectors * Vec::kLanes) {
      const Side side{layer.weights + channel, layer.bias + channel, out + channel, layer.width, out_row};
      ConvolveRows<kIsX ? kVectors : 0, kIsX ? 0 : kVectors, kColumns, kStride, kPooled>(
          in + y * in_row, in_row, layer.in_stride, outputs, side, side);
    }
    const int64_t finished = kPooled ? out_row : 2 * out_row;
    if (!kIsX) TanhInPlace(out, finished);
    out += finished;
  }
}

#include "cpu/winograd_body.h"

// One stream's layer over a (kSize, kSize) input. The released widths have the fast paths: Winograd before a
// pool, else the direct sum in wide blocks.
template <bool kIsX, int kSize, bool kPooled>
void Convolve(const float* in, const Convolution& layer, float* work, float* out) {
  constexpr int kReleased = kIsX ? kReleasedX : kReleasedS;
  if (layer.in_stride != kReleased || layer.width != kReleased) {
    ConvolveLayer<kIsX, 1, 2, 0, kPooled>(in, kSize, layer, out);
  } else if constexpr (kPooled) {
    ConvolveWinograd<kIsX, kReleased, kSize>(in, layer, work, out);
  } else {
    constexpr int kVectors = kIsX ? Tuning::kVectorsX : Tuning::kVectorsS;
    ConvolveLayer<kIsX, kVectors, kIsX ? Tuning::kColumnsX : Tuning::kColumnsS, kReleased, false>(in, kSize,
                                                                                                  layer, out);
  }
}

// Both streams' first layer, straight from the bytes through a strip of four rows.
void ConvolveFirst(const NetworkWeights& network, const uint8_t* image, float* strip, float* out_x,
                   float* out_s) {
  constexpr int kOutputs = 62, kRow = 64 * 3, kX = Tuning::kFirstX, kS = Tuning::kFirstS;
  const Convolution &x = network.x[0], &s = network.s[0];
  const int64_t row_x = kOutputs / 2 * int64_t{x.width}, row_s = kOutputs / 2 * int64_t{s.width};
  const auto side = [](const Convolution& layer, int channel, float* out, int64_t row) {
    return Side{layer.weights + channel, layer.bias + channel, out + channel, layer.width, row};
  };
  for (int y = 0; y < kOutputs; y += 2, out_x += row_x, out_s += row_s) {
    const uint8_t* bytes = image + y * kRow;
    for (int i = 0; i < 4 * kRow; i += Vec::kLanes) Vec::Bytes(bytes + i).Store(strip + i);
    // While both streams have channels left they share a block, so that each pixel is broadcast once.
    int done_x = 0, done_s = 0;
    while (done_x + kX * Vec::kLanes <= x.width && done_s + kS * Vec::kLanes <= s.width) {
      ConvolveRows<kX, kS, Tuning::kFirstColumns, 3, true>(
          strip, kRow, 3, kOutputs, side(x, done_x, out_x, row_x), side(s, done_s, out_s, row_s));
      done_x += kX * Vec::kLanes;
      done_s += kS * Vec::kLanes;
    }
    for (; done_x < x.width; done_x += Vec::kLanes) {
      ConvolveRows<1, 0, 2, 3, true>(strip, kRow, 3, kOutputs, side(x, done_x, out_x, row_x), {});
    }
    for (; done_s < s.width; done_s += Vec::kLanes) {
      ConvolveRows<0, 1, 2, 3, true>(strip, kRow, 3, kOutputs, {}, side(s, done_s, out_s, row_s));
    }
    TanhInPlace(out_s, row_s);
  }
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

void RunNetwork(const NetworkWeights& network, const uint8_t* image, float* scratch, float* dots) {
  constexpr int kSizes[4] = {31, 14, 6, 4};
  float* strip = scratch;
  float* work = strip + 4 * 64 * 3;
  scratch = work + kWinogradFloats;
  float *x[4], *s[4];
  for (int level = 0; level < 4; ++level) {
    x[level] = scratch;
    s[level] = x[level] + kSizes[level] * kSizes[level] * network.width_x;
    scratch = s[level] + kSizes[level] * kSizes[level] * network.width_s;
  }
  ConvolveFirst(network, image, strip, x[0], s[0]);
  Convolve<true, 31, true>(x[0], network.x[1], work, x[1]);
  Convolve<false, 31, true>(s[0], network.s[1], work, s[1]);
  Convolve<true, 14, true>(x[1], network.x[2], work, x[2]);
  Convolve<false, 14, true>(s[1], network.s[2], work, s[2]);
  Convolve<true, 6, false>(x[2], network.x[3], work, x[3]);
  Convolve<false, 6, false>(s[2], network.s[3], work, s[3]);
  for (int k = 0; k < network.num_stages; ++k) {
    const StageWeights& stage = network.stages[k];
    const int level = stage.level - 1;
    const int64_t count = int64_t{stage.side} * stage.side * network.width_fusion;
    float *fx = scratch, *fs = fx + count, *product = fs + count;
    FuseStage<true>(network, stage, x[level], kSizes[level], fx);
    FuseStage<false>(network, stage, s[level], kSizes[level], fs);
    for (int64_t i = 0; i < count; i += Vec::kLanes) {
      (Vec::Load(fs + i) * Vec::Load(fx + i)).Store(product + i);
    }
    Dense(stage.delta, product, count, 1, dots);
    Dense(stage.bins_x, fx, count, stage.bins, dots + 1);
    Dense(stage.bins_s, fs, count, stage.bins, dots + 1 + stage.bins);
    dots += 1 + 2 * stage.bins;
  }
}

// See MultiplyAddKernel.
int64_t MultiplyAdd(int64_t rounds, float* value) {
  Vec sums[Tuning::kPeakSums];
  const Vec factor = Vec::Broadcast(0.5f), term = Vec::Broadcast(*value);
  SSR_UNROLL for (int i = 0; i < Tuning::kPeakSums; ++i) sums[i] = Vec::Broadcast(*value + i);
  SSR_ROLLED for (int64_t round = 0; round < rounds; ++round) {
    SSR_UNROLL for (int i = 0; i < Tuning::kPeakSums; ++i) sums[i] = Vec::Fma(sums[i], factor, term);
  }
  for (int i = 1; i < Tuning::kPeakSums; ++i) sums[0] = sums[0] + sums[i];
  *value = SumLanes(sums[0]);
  return rounds * Tuning::kPeakSums * Vec::kLanes;
}

#undef SSR_ROLLED
#undef SSR_UNROLL
#undef SSR_INLINE
