// Both streams' first layer, straight from the bytes, by Winograd's F(2, 3) down the columns: 12
// multiply-adds where the direct sum takes 18. Included by network.inl.h.
//
// Rows d0 to d3 of the picture make two rows of outputs, m0 + m1 + m2 and m1 - m2 + m3, where m0 to m3 are
// sums over columns and colours of the rows d0 - d2, d1 + d2, d2 - d1, d3 - d1, each with weights of its own.
// With three channels to sum over, transforming both ways would cost in additions what it saves.

constexpr int kFirstOutputs = Convolved(kImageSize);

// Where a layer of one stream reads its weights ([4 rows][9][width]) and writes its outputs.
struct Side {
  const float* weights = nullptr;
  const float* bias = nullptr;
  float* out = nullptr;
  int width = 0;
};

// kColumns columns of two rows of outputs, pooled: kX vectors of X channels and kS of S channels (tanh is
// left to the caller). rows: the four transformed rows.
template <int kX, int kS, int kColumns>
SSR_INLINE void FirstBlock(const float* rows, const Side& x, const Side& s) {
  constexpr int kV = kX + kS, kTaps = 9;
  constexpr int kRows[2][2] = {{1, 2}, {0, 3}};
  Vec sum[2][kColumns][kV];
  SSR_UNROLL for (int v = 0; v < kV; ++v) {
    const Vec b = Vec::Load(v < kX ? x.bias + v * Vec::kLanes : s.bias + (v - kX) * Vec::kLanes);
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
      sum[0][c][v] = b;
      sum[1][c][v] = Vec::Broadcast(0.0f);
    }
  }
  SSR_UNROLL for (int pass = 0; pass < 2; ++pass) {
    SSR_ROLLED for (int j = 0; j < kTaps; ++j) {
      asm volatile("" ::: "memory");  // the columns overlap: rather load again than keep values in registers
      SSR_UNROLL for (int r = 0; r < 2; ++r) {
        const int row = kRows[pass][r], tap = row * kTaps + j;
        Vec w[kV];
        SSR_UNROLL for (int v = 0; v < kV; ++v) {
          w[v] = Vec::Load(v < kX ? x.weights + tap * x.width + v * Vec::kLanes
                                  : s.weights + tap * s.width + (v - kX) * Vec::kLanes);
        }
        SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
          const Vec a = Vec::Broadcast(rows[row * kImageRow + j + c * 3]);
          SSR_UNROLL for (int v = 0; v < kV; ++v) sum[r][c][v] = Vec::Fma(a, w[v], sum[r][c][v]);
        }
      }
    }
    if (pass == 0) {  // m0 and m3 go on from m1 + m2 and m1 - m2
      SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
        SSR_UNROLL for (int v = 0; v < kV; ++v) {
          const Vec m1 = sum[0][c][v], m2 = sum[1][c][v];
          sum[0][c][v] = m1 + m2;
          sum[1][c][v] = m1 - m2;
        }
      }
    }
  }
  SSR_UNROLL for (int c = 0; c < kColumns; c += 2) {
    SSR_UNROLL for (int v = 0; v < kX; ++v) {
      Pool<true>(sum[0][c][v], sum[0][c + 1][v], sum[1][c][v], sum[1][c + 1][v])
          .Store(x.out + c / 2 * x.width + v * Vec::kLanes);
    }
    SSR_UNROLL for (int v = kX; v < kV; ++v) {
      Pool<false>(sum[0][c][v], sum[0][c + 1][v], sum[1][c][v], sum[1][c + 1][v])
          .Store(s.out + c / 2 * s.width + (v - kX) * Vec::kLanes);
    }
  }
}

// All columns of two rows of outputs.
template <int kX, int kS, int kColumns>
void FirstRows(const float* rows, Side x, Side s) {
  const auto next = [&](int columns) {
    rows += columns * 3;
    x.out += columns / 2 * x.width;
    s.out += columns / 2 * s.width;
  };
  int column = 0;
  SSR_ROLLED for (; column + kColumns <= kFirstOutputs; column += kColumns) {
    FirstBlock<kX, kS, kColumns>(rows, x, s);
    next(kColumns);
  }
  if constexpr (kFirstOutputs % kColumns != 0) FirstBlock<kX, kS, kFirstOutputs % kColumns>(rows, x, s);
}

// work: four rows of the picture. Not inlined: the portable kernel would be 2 % slower.
__attribute__((noinline)) void ConvolveFirst(const NetworkWeights& network, const uint8_t* image, float* work,
                                             float* out_x, float* out_s) {
  constexpr int kX = Tuning::kFirstX, kS = Tuning::kFirstS;
  const Convolution &x = network.x[0], &s = network.s[0];
  const int64_t row_x = kFirstOutputs / 2 * int64_t{x.width}, row_s = kFirstOutputs / 2 * int64_t{s.width};
  const auto side = [](const Convolution& layer, int channel, float* out) {
    return Side{layer.weights + channel, layer.bias + channel, out + channel, layer.width};
  };
  for (int y = 0; y < kFirstOutputs; y += 2, out_x += row_x, out_s += row_s) {
    const uint8_t* bytes = image + y * kImageRow;
    for (int i = 0; i < kImageRow; i += Vec::kLanes, bytes += Vec::kLanes) {
      Vec d[4];
      SSR_UNROLL for (int r = 0; r < 4; ++r) d[r] = Vec::Bytes(bytes + r * kImageRow);
      (d[0] - d[2]).Store(work + i);
      (d[1] + d[2]).Store(work + kImageRow + i);
      (d[2] - d[1]).Store(work + 2 * kImageRow + i);
      (d[3] - d[1]).Store(work + 3 * kImageRow + i);
    }
    // While both streams have channels left they share a block, so that each value is broadcast once.
    int done_x = 0, done_s = 0;
    while (done_x + kX * Vec::kLanes <= x.width && done_s + kS * Vec::kLanes <= s.width) {
      FirstRows<kX, kS, Tuning::kFirstColumns>(work, side(x, done_x, out_x), side(s, done_s, out_s));
      done_x += kX * Vec::kLanes;
      done_s += kS * Vec::kLanes;
    }
    for (; done_x < x.width; done_x += Vec::kLanes) FirstRows<1, 0, 4>(work, side(x, done_x, out_x), {});
    for (; done_s < s.width; done_s += Vec::kLanes) FirstRows<0, 1, 4>(work, {}, side(s, done_s, out_s));
    TanhInPlace(out_s, row_s);
  }
}
