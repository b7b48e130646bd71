// 3x3 convolutions of each channel by itself. Included by detector_chain.inl.h.

enum class Keep { kRows, kPooled, kBoth };

// One vector of channels of kColumns outputs. A value that is read goes to three sums; twelve sums hide the
// latency of a multiply-add. rows: the three input rows, from the column left of the first output.
// pooled: the larger of each two, and of those that lie there already if this row is the lower one.
template <int kChannels, int kColumns, Keep kKeep, bool kRelu, bool kLower>
SSR_INLINE void DepthBlock(const float* const* rows, int64_t at, const float* weights, const float* bias,
                           float* out, float* pooled) {
  Vec sum[kColumns];
  SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[c] = Vec::Load(bias);
  SSR_UNROLL for (int r = 0; r < 3; ++r) {
    Vec w[3];
    SSR_UNROLL for (int k = 0; k < 3; ++k) w[k] = Vec::Load(weights + (3 * r + k) * kChannels);
    SSR_UNROLL for (int c = 0; c < kColumns + 2; ++c) {
      const Vec value = Vec::Load(rows[r] + at + c * kChannels);
      SSR_UNROLL for (int k = 0; k < 3; ++k) {
        const int j = c - k;
        if (j >= 0 && j < kColumns) sum[j] = Vec::Fma(value, w[k], sum[j]);
      }
    }
  }
  if (kRelu) {
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[c] = Vec::Max(sum[c], Vec::Broadcast(0.0f));
  }
  if (kKeep != Keep::kPooled) {
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[c].Store(out + c * kChannels);
  }
  if (kKeep != Keep::kRows) {
    SSR_UNROLL for (int c = 0; c < kColumns; c += 2) {
      Vec largest = Vec::Max(sum[c], sum[c + 1]);
      float* const cell = pooled + c / 2 * kChannels;
      if (kLower) largest = Vec::Max(largest, Vec::Load(cell));
      largest.Store(cell);
    }
  }
}

template <int kCount>
struct Count {
  static constexpr int kValue = kCount;
};

// Two rows of `blocks` times four columns of all channels. rows: four.
template <int kChannels, Keep kKeep, bool kRelu>
SSR_INLINE void Depth(const float* const* rows, const DetectorUnit& unit, int blocks, float* upper,
                      float* lower, float* pooled) {
  for (int channel = 0; channel < kChannels; channel += Vec::kLanes) {
    const auto pair = [&](auto columns, int x) __attribute__((always_inline)) {
      constexpr int kColumns = decltype(columns)::kValue;
      const float *weights = unit.depth + channel, *bias = unit.depth_bias + channel;
      const int64_t at = int64_t{x} * kChannels + channel;
      float* const cells = pooled + int64_t{x} / 2 * kChannels + channel;
      DepthBlock<kChannels, kColumns, kKeep, kRelu, false>(rows, at, weights, bias, upper + at, cells);
      DepthBlock<kChannels, kColumns, kKeep, kRelu, true>(rows + 1, at, weights, bias, lower + at, cells);
    };
    int x = 0;
    SSR_ROLLED for (; x + 12 <= 4 * blocks; x += 12) pair(Count<12>(), x);
    if (x + 8 <= 4 * blocks) {
      pair(Count<8>(), x);
    } else if (x < 4 * blocks) {
      pair(Count<4>(), x);
    }
  }
}
