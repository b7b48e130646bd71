// 3x3 convolutions by Winograd's F(4x4, 3x3): 36 multiply-adds where the direct sum takes 144. Included by
// network.inl.h.
//
// A tile is 4x4 outputs, four windows of the 2x2 pool that follows. The 6x6 inputs under it are transformed
// (B^T d B), multiplied position by position with transformed weights (for each of the 36 positions one small
// matrix product over the channels), and transformed back (A^T m A), after which activation and pool follow
// in registers. Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
//
// The polynomials are taken at 0, a, -a, b, -b and infinity with a = 2/3 and b = 3/2 rather than the usual 1
// and 2: that keeps the error at the direct sum's, and a b = 1 saves products.

constexpr int kEdge = 6, kTile = 4, kPositions = kEdge * kEdge;
constexpr float kA1 = kWinogradPoint, kA2 = kA1 * kA1, kA3 = kA2 * kA1;
constexpr float kB1 = 1 / kA1, kB2 = kB1 * kB1, kB3 = kB2 * kB1;

// B^T applied to six values; results lie `step` apart.
SSR_INLINE void TransformSix(const Vec* d, Vec* out, int step) {
  const Vec a = Vec::Broadcast(kA1), b = Vec::Broadcast(kB1);
  const Vec minus_a2 = Vec::Broadcast(-kA2), minus_b2 = Vec::Broadcast(-kB2);
  const Vec both = Vec::Broadcast(-(kA2 + kB2));
  const Vec even_a = Vec::Fma(minus_b2, d[2], d[4]), odd_a = a * Vec::Fma(minus_b2, d[1], d[3]);
  const Vec even_b = Vec::Fma(minus_a2, d[2], d[4]), odd_b = b * Vec::Fma(minus_a2, d[1], d[3]);
  out[0] = Vec::Fma(both, d[2], d[0] + d[4]);
  out[step] = even_a + odd_a;
  out[2 * step] = even_a - odd_a;
  out[3 * step] = even_b + odd_b;
  out[4 * step] = even_b - odd_b;
  out[5 * step] = Vec::Fma(both, d[3], d[1] + d[5]);
}

// A^T applied to six values; results lie `step` apart.
SSR_INLINE void TransformToFour(const Vec* m, Vec* out, int step) {
  const Vec sum_a = m[1] + m[2], difference_a = m[1] - m[2], sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  const auto weighted = [](float weight_a, Vec value_a, float weight_b, Vec value_b) {
    return Vec::Fma(Vec::Broadcast(weight_a), value_a, Vec::Broadcast(weight_b) * value_b);
  };
  out[0] = m[0] + (sum_a + sum_b);
  out[step] = weighted(kA1, difference_a, kB1, difference_b);
  out[2 * step] = weighted(kA2, sum_a, kB2, sum_b);
  out[3 * step] = weighted(kA3, difference_a, kB3, difference_b) + m[5];
}

// in: the top left input of the first tile; kTiles tiles in a row. out: [position][step: floats between
// positions][tile][kWidth].
template <int kWidth, int kTiles>
SSR_INLINE void TransformInputs(const float* in, int64_t in_row, int64_t step, float* out) {
  SSR_ROLLED for (int tile = 0; tile < kTiles; ++tile, in += kTile * kWidth, out += kWidth) {
    SSR_ROLLED for (int channel = 0; channel < kWidth; channel += Vec::kLanes) {
      Vec columns[kEdge][kEdge];
      SSR_ROLLED for (int x = 0; x < kEdge; ++x) {
        Vec d[kEdge];
        SSR_UNROLL for (int y = 0; y < kEdge; ++y) d[y] = Vec::Load(in + y * in_row + x * kWidth + channel);
        TransformSix(d, &columns[0][x], kEdge);
      }
      SSR_ROLLED for (int y = 0; y < kEdge; ++y) {
        Vec v[kEdge];
        TransformSix(columns[y], v, 1);
        SSR_UNROLL for (int x = 0; x < kEdge; ++x) v[x].Store(out + (y * kEdge + x) * step + channel);
      }
    }
  }
}

// out[tile][kWidth] = in[tile][kWidth] * weights[kWidth][kWidth], for one block of tiles and kVectors vectors
// of output channels.
template <int kWidth, int kVectors, int kTiles>
SSR_INLINE void MultiplyBlock(const float* in, const float* weights, float* out) {
  Vec sum[kTiles][kVectors];
  SSR_UNROLL for (int tile = 0; tile < kTiles; ++tile) {
    SSR_UNROLL for (int v = 0; v < kVectors; ++v) sum[tile][v] = Vec::Broadcast(0.0f);
  }
  SSR_ROLLED for (int i = 0; i < kWidth; ++i, weights += kWidth) {
    Vec w[kVectors];
    SSR_UNROLL for (int v = 0; v < kVectors; ++v) w[v] = Vec::Load(weights + v * Vec::kLanes);
    SSR_UNROLL for (int tile = 0; tile < kTiles; ++tile) {
      const Vec a = Vec::Broadcast(in[tile * kWidth + i]);
      SSR_UNROLL for (int v = 0; v < kVectors; ++v) sum[tile][v] = Vec::Fma(a, w[v], sum[tile][v]);
    }
  }
  SSR_UNROLL for (int tile = 0; tile < kTiles; ++tile) {
    SSR_UNROLL for (int v = 0; v < kVectors; ++v) sum[tile][v].Store(out + tile * kWidth + v * Vec::kLanes);
  }
}

// All tiles and output channels of one position, in blocks of at most kMost tiles and nearly equal size.
template <int kWidth, int kVectors, int kMost, int kTiles>
SSR_INLINE void Multiply(const float* in, const float* weights, float* out) {
  constexpr int kBlocks = (kTiles + kMost - 1) / kMost, kBlock = (kTiles + kBlocks - 1) / kBlocks;
  constexpr int kRest = kTiles % kBlock;
  SSR_ROLLED for (int channel = 0; channel < kWidth; channel += kVectors * Vec::kLanes) {
    SSR_ROLLED for (int tile = 0; tile + kBlock <= kTiles; tile += kBlock) {
      MultiplyBlock<kWidth, kVectors, kBlock>(in + tile * kWidth, weights + channel,
                                              out + tile * kWidth + channel);
    }
    if constexpr (kRest > 0) {
      constexpr int kDone = (kTiles - kRest) * kWidth;
      MultiplyBlock<kWidth, kVectors, kRest>(in + kDone, weights + channel, out + kDone + channel);
    }
  }
}

// The pooled outputs of a row of tiles. in: as TransformInputs' out.
template <bool kIsX, int kWidth, int kTiles>
SSR_INLINE void TransformOutputs(const float* in, int64_t step, const float* bias, float* out) {
  constexpr int kOutRow = kTiles * kTile / 2 * kWidth;
  SSR_ROLLED for (int tile = 0; tile < kTiles; ++tile, in += kWidth, out += kTile / 2 * kWidth) {
    SSR_ROLLED for (int channel = 0; channel < kWidth; channel += Vec::kLanes) {
      Vec rows[kTile][kEdge], outputs[kTile][kTile];
      SSR_ROLLED for (int x = 0; x < kEdge; ++x) {
        Vec m[kEdge];
        SSR_UNROLL for (int y = 0; y < kEdge; ++y) m[y] = Vec::Load(in + (y * kEdge + x) * step + channel);
        TransformToFour(m, &rows[0][x], kEdge);
      }
      const Vec b = Vec::Load(bias + channel);
      SSR_UNROLL for (int y = 0; y < kTile; ++y) {
        TransformToFour(rows[y], outputs[y], 1);
        SSR_UNROLL for (int x = 0; x < kTile; ++x) outputs[y][x] = outputs[y][x] + b;
      }
      SSR_UNROLL for (int y = 0; y < 2; ++y) {
        SSR_UNROLL for (int x = 0; x < 2; ++x) {
          const Vec *above = &outputs[2 * y][2 * x], *below = &outputs[2 * y + 1][2 * x];
          Pool<kIsX>(above[0], above[1], below[0], below[1]).Store(out + y * kOutRow + x * kWidth + channel);
        }
      }
    }
  }
}

// One stream's layer of kWidth to kWidth channels over a (kSize, kSize) input, 7 or 9 tiles at a time. work:
// kWorkFloats, which stay in the first-level cache. Position p's products go to where position p - 1's inputs
// were read from.
template <bool kIsX, int kWidth, int kSize>
void ConvolveWinograd(const float* in, const Convolution& layer, float* work, float* out) {
  constexpr int kSide = (kSize - 2) / kTile, kRows = kSide < 7 ? kSide : 1;
  constexpr int kTiles = kRows * kSide, kStep = kTiles * kWidth, kRow = kSide * kWidth;
  static_assert((kPositions + 1) * kStep <= kWorkFloats, "");
  constexpr int64_t kInRow = int64_t{kSize} * kWidth;
  constexpr int kVectors = kIsX ? Tuning::kWinogradVectorsX : Tuning::kWinogradVectorsS;
  constexpr int kMost = kIsX ? Tuning::kWinogradTilesX : Tuning::kWinogradTilesS;
  for (int y = 0; y < kSide; y += kRows) {
    for (int row = 0; row < kRows; ++row, in += kTile * kInRow) {
      TransformInputs<kWidth, kSide>(in, kInRow, kStep, work + kStep + row * kRow);
    }
    SSR_ROLLED for (int p = 0; p < kPositions; ++p) {
      Multiply<kWidth, kVectors, kMost, kTiles>(work + (p + 1) * kStep, layer.weights + p * kWidth * kWidth,
                                                work + p * kStep);
    }
    for (int row = 0; row < kRows; ++row, out += kTile * kRow) {
      TransformOutputs<kIsX, kWidth, kSide>(work + row * kRow, kStep, layer.bias, out);
      if (!kIsX) TanhInPlace(out, kTile * kRow);
    }
  }
}
