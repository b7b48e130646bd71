// 3x3 convolutions by Winograd's F(2x2, 3x3): 16 multiply-adds where the direct sum takes 36. Included by
// network_body.h.
//
// A window is the 2x2 square of outputs that one pool reads; the 4x4 inputs under it are transformed
// (B^T d B), multiplied position by position with transformed weights (one small matrix product over the
// channels for each of the 16 positions), and transformed back (A^T m A), where bias, activation and
// pool follow in registers. No value on the way exceeds 36 times the layer's bound that core/fold.cc holds
// far enough below float32's range. Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
// 2016.

constexpr int kPositions = 16;

// One transform of four values, B^T applied: by columns and then by rows it makes a window's 16.
struct Four {
  Vec v[4];
};

SSR_INLINE Four TransformInput(Vec a, Vec b, Vec c, Vec d) { return {{a - c, b + c, c - b, d - b}}; }

// in: the top left pixel of the first window's inputs. kWindows windows in a row, each two pixels right of
// the last. out: [position][step: floats between positions][window][kWidth].
template <int kWidth, int kWindows>
SSR_INLINE void TransformInputs(const float* in, int64_t in_row, int64_t step, float* out) {
  const auto column = [&](const float* top) {
    return TransformInput(Vec::Load(top), Vec::Load(top + in_row), Vec::Load(top + 2 * in_row),
                          Vec::Load(top + 3 * in_row));
  };
  SSR_ROLLED for (int channel = 0; channel < kWidth; channel += Vec::kLanes) {
    const float* top = in + channel;
    float* to = out + channel;
    Four first = column(top), second = column(top + kWidth);
    SSR_ROLLED for (int window = 0; window < kWindows; ++window, to += kWidth) {
      top += 2 * kWidth;
      const Four third = column(top), fourth = column(top + kWidth);
      SSR_UNROLL for (int y = 0; y < 4; ++y) {
        const Four row = TransformInput(first.v[y], second.v[y], third.v[y], fourth.v[y]);
        SSR_UNROLL for (int x = 0; x < 4; ++x) row.v[x].Store(to + (4 * y + x) * step);
      }
      first = third;
      second = fourth;
    }
  }
}

// out[window][kWidth] = start + in[window][kWidth] * weights[kWidth][kWidth], for one block of windows and
// kVectors vectors of output channels.
template <int kWidth, int kVectors, int kWindows>
SSR_INLINE void MultiplyBlock(const float* in, const float* weights, const Vec* start, float* out) {
  Vec sum[kWindows][kVectors];
  SSR_UNROLL for (int window = 0; window < kWindows; ++window) {
    SSR_UNROLL for (int v = 0; v < kVectors; ++v) sum[window][v] = start[v];
  }
  SSR_ROLLED for (int i = 0; i < kWidth; ++i, weights += kWidth) {
    Vec w[kVectors];
    SSR_UNROLL for (int v = 0; v < kVectors; ++v) w[v] = Vec::Load(weights + v * Vec::kLanes);
    SSR_UNROLL for (int window = 0; window < kWindows; ++window) {
      const Vec a = Vec::Broadcast(in[window * kWidth + i]);
      SSR_UNROLL for (int v = 0; v < kVectors; ++v) sum[window][v] = Vec::Fma(a, w[v], sum[window][v]);
    }
  }
  SSR_UNROLL for (int window = 0; window < kWindows; ++window) {
    SSR_UNROLL for (int v = 0; v < kVectors; ++v) sum[window][v].Store(out + window * kWidth +
                                                                       v * Vec::kLanes);
  }
}

// All windows and output channels of one position, in blocks of nearly equal size.
template <int kWidth, int kVectors, int kMost, int kWindows>
SSR_INLINE void Multiply(const float* in, const float* weights, const float* bias, float* out) {
  constexpr int kBlocks = (kWindows + kMost - 1) / kMost, kBlock = (kWindows + kBlocks - 1) / kBlocks;
  constexpr int kRest = kWindows % kBlock;
  SSR_ROLLED for (int channel = 0; channel < kWidth; channel += kVectors * Vec::kLanes) {
    Vec start[kVectors];
    SSR_UNROLL for (int v = 0; v < kVectors; ++v) {
      start[v] = bias ? Vec::Load(bias + channel + v * Vec::kLanes) : Vec::Broadcast(0.0f);
    }
    SSR_ROLLED for (int window = 0; window + kBlock <= kWindows; window += kBlock) {
      MultiplyBlock<kWidth, kVectors, kBlock>(in + window * kWidth, weights + channel, start,
                                              out + window * kWidth + channel);
    }
    if constexpr (kRest > 0) {
      constexpr int kDone = kWindows - kRest;
      MultiplyBlock<kWidth, kVectors, kRest>(in + kDone * kWidth, weights + channel, start,
                                             out + kDone * kWidth + channel);
    }
  }
}

// The pooled outputs of kWindows windows: mean of ReLU for X, maximum for S. in: as TransformInputs' out.
template <bool kIsX, int kWidth, int kWindows>
SSR_INLINE void TransformOutputs(const float* in, int64_t step, float* out) {
  SSR_ROLLED for (int i = 0; i < kWindows * kWidth; i += Vec::kLanes) {
    Vec upper[4], lower[4];
    SSR_UNROLL for (int x = 0; x < 4; ++x) {
      const float* from = in + i + x * step;
      const Vec m1 = Vec::Load(from + 4 * step), m2 = Vec::Load(from + 8 * step);
      upper[x] = Vec::Load(from) + m1 + m2;
      lower[x] = m1 - m2 + Vec::Load(from + 12 * step);
    }
    const Vec a = upper[0] + upper[1] + upper[2], b = upper[1] - upper[2] + upper[3];
    const Vec c = lower[0] + lower[1] + lower[2], d = lower[1] - lower[2] + lower[3];
    Pool<kIsX>(a, b, c, d).Store(out + i);
  }
}

// One stream's layer of kWidth to kWidth channels over a (kSize, kSize) input, 12 or 14 windows at a time.
// work: kWorkFloats, which stay in the first-level cache. Position p's products go to where position p -
// 1's inputs were read from.
template <bool kIsX, int kWidth, int kSize>
void ConvolveWinograd(const float* in, const Convolution& layer, float* work, float* out) {
  constexpr int kSide = (kSize - 2) / 2, kRows = kSide < 14 ? 2 : 1, kWindows = kRows * kSide,
                kStep = kWindows * kWidth;
  static_assert(kSide % kRows == 0 && (kPositions + 1) * kStep <= kWorkFloats, "");
  constexpr int64_t kInRow = int64_t{kSize} * kWidth;
  constexpr int kVectors = kIsX ? Tuning::kWinogradVectorsX : Tuning::kWinogradVectorsS;
  constexpr int kMost = kIsX ? Tuning::kWinogradWindowsX : Tuning::kWinogradWindowsS;
  for (int y = 0; y < kSide; y += kRows, out += kStep) {
    for (int row = 0; row < kRows; ++row) {
      TransformInputs<kWidth, kSide>(in + 2 * (y + row) * kInRow, kInRow, kStep,
                                     work + kStep + row * kSide * kWidth);
    }
    SSR_ROLLED for (int p = 0; p < kPositions; ++p) {
      // The product at position (1, 1) enters all four outputs as it is, so the bias starts there.
      Multiply<kWidth, kVectors, kMost, kWindows>(work + (p + 1) * kStep,
                                                  layer.weights + int64_t{p} * kWidth * kWidth,
                                                  p == 5 ? layer.bias : nullptr, work + p * kStep);
    }
    TransformOutputs<kIsX, kWidth, kWindows>(work, kStep, out);
    if (!kIsX) TanhInPlace(out, kStep);
  }
}
