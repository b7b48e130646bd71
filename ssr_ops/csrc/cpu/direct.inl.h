// 3x3 convolutions by direct summation, for one stream of any width. Included by network.inl.h.

// Two rows of four outputs of one vector of channels: ReLU for X; tanh, for S, is left to the caller, as it
// is monotone and the maximum comes first. kPooled: a 2x2 pool follows, average for X, maximum for S.
template <bool kIsX, bool kPooled>
SSR_INLINE void DirectBlock(const float* in, int64_t in_row, const Convolution& layer, int channel,
                            int64_t out_row, float* out) {
  constexpr int kColumns = 4;
  const int stride = layer.in_stride, width = layer.width;
  const float* weights = layer.weights + channel;
  Vec sum[2][kColumns];
  SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[0][c] = sum[1][c] = Vec::Load(layer.bias + channel);
  SSR_ROLLED for (int ky = 0; ky < 3; ++ky) {
    const float* upper = in + ky * in_row;
    const float* lower = upper + in_row;
    SSR_ROLLED for (int j = 0; j < 3 * stride; ++j, weights += width) {
      const Vec w = Vec::Load(weights);
      SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
        sum[0][c] = Vec::Fma(Vec::Broadcast(upper[j + c * stride]), w, sum[0][c]);
        sum[1][c] = Vec::Fma(Vec::Broadcast(lower[j + c * stride]), w, sum[1][c]);
      }
    }
  }
  if constexpr (kPooled) {
    SSR_UNROLL for (int c = 0; c < kColumns; c += 2) {
      Pool<kIsX>(sum[0][c], sum[0][c + 1], sum[1][c], sum[1][c + 1]).Store(out + c / 2 * width);
    }
  } else {
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
      SSR_UNROLL for (int r = 0; r < 2; ++r) {
        (kIsX ? Vec::Max(sum[r][c], Vec::Broadcast(0.0f)) : sum[r][c]).Store(out + r * out_row + c * width);
      }
    }
  }
}

// One layer over a (kSize, kSize) input.
template <bool kIsX, int kSize, bool kPooled>
void ConvolveDirect(const float* in, const Convolution& layer, float* out) {
  constexpr int kOutputs = kPooled ? (kSize - 2) / 2 * 2 : kSize - 2, kShrink = kPooled ? 2 : 1;
  static_assert(kOutputs % 4 == 0, "whole blocks");
  const int64_t in_row = int64_t{kSize} * layer.in_stride,
                out_row = kOutputs / kShrink * int64_t{layer.width};
  for (int y = 0; y < kOutputs; y += 2, in += 2 * in_row) {
    for (int channel = 0; channel < layer.width; channel += Vec::kLanes) {
      for (int column = 0; column < kOutputs; column += 4) {
        DirectBlock<kIsX, kPooled>(in + column * layer.in_stride, in_row, layer, channel, out_row,
                                   out + column / kShrink * layer.width + channel);
      }
    }
    const int64_t finished = 2 / kShrink * out_row;
    if (!kIsX) TanhInPlace(out, finished);
    out += finished;
  }
}
