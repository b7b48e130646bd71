// 3x3 convolutions of each channel by itself. Included by detector_chain.inl.h.

enum class Keep { kRows, kPooled, kBoth };

// Two rows of four outputs of one vector of channels; each value that is read goes to up to six sums.
// rows: the four input rows, from the column left of the first output.
template <int kChannels, Keep kKeep, bool kRelu>
SSR_INLINE void DepthBlock(const float* const* rows, int64_t at, const float* weights, const float* bias,
                           float* upper, float* lower, float* pooled) {
  constexpr int kColumns = 4;
  Vec sum[2][kColumns];
  SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[0][c] = sum[1][c] = Vec::Load(bias);
  SSR_UNROLL for (int r = 0; r < 4; ++r) {
    Vec above[3], below[3];  // this row's weights in the upper and in the lower outputs
    SSR_UNROLL for (int k = 0; k < 3; ++k) {
      if (r < 3) above[k] = Vec::Load(weights + (3 * r + k) * kChannels);
      if (r > 0) below[k] = Vec::Load(weights + (3 * (r - 1) + k) * kChannels);
    }
    SSR_UNROLL for (int c = 0; c < kColumns + 2; ++c) {
      const Vec value = Vec::Load(rows[r] + at + c * kChannels);
      SSR_UNROLL for (int k = 0; k < 3; ++k) {
        const int j = c - k;
        if (j < 0 || j >= kColumns) continue;
        if (r < 3) sum[0][j] = Vec::Fma(value, above[k], sum[0][j]);
        if (r > 0) sum[1][j] = Vec::Fma(value, below[k], sum[1][j]);
      }
    }
  }
  if (kRelu) {
    const Vec zero = Vec::Broadcast(0.0f);
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
      sum[0][c] = Vec::Max(sum[0][c], zero);
      sum[1][c] = Vec::Max(sum[1][c], zero);
    }
  }
  if (kKeep != Keep::kPooled) {
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
      sum[0][c].Store(upper + c * kChannels);
      sum[1][c].Store(lower + c * kChannels);
    }
  }
  if (kKeep != Keep::kRows) {
    SSR_UNROLL for (int c = 0; c < kColumns; c += 2) {
      Vec::Max(Vec::Max(sum[0][c], sum[0][c + 1]), Vec::Max(sum[1][c], sum[1][c + 1]))
          .Store(pooled + c / 2 * kChannels);
    }
  }
}

// `blocks` times four columns of all channels.
template <int kChannels, Keep kKeep, bool kRelu>
SSR_INLINE void Depth(const float* const* rows, const DetectorUnit& unit, int blocks, float* upper,
                      float* lower, float* pooled) {
  for (int channel = 0; channel < kChannels; channel += Vec::kLanes) {
    SSR_ROLLED for (int block = 0; block < blocks; ++block) {
      const int64_t at = int64_t{block} * 4 * kChannels + channel;
      DepthBlock<kChannels, kKeep, kRelu>(rows, at, unit.depth + channel, unit.depth_bias + channel,
                                          upper + at, lower + at,
                                          pooled + int64_t{block} * 2 * kChannels + channel);
    }
  }
}
