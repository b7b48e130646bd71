// 1x1 convolutions, and the stem's, as sums over runs of neighbouring floats. Included by
// detector_chain.inl.h.

// `kPixels` outputs of kVectors of channels. in: `kRuns` times `length` floats of the first output; the next
// one's lie `step` further. weights: [kRuns * length][width].
template <int kPixels, int kVectors, int kRuns, bool kRelu>
SSR_INLINE void PixelBlock(const float* const* in, int64_t at, int step, int length, const float* weights,
                           int width, const float* bias, float* out) {
  Vec sum[kPixels][kVectors];
  SSR_UNROLL for (int v = 0; v < kVectors; ++v) {
    const Vec b = Vec::Load(bias + v * Vec::kLanes);
    SSR_UNROLL for (int p = 0; p < kPixels; ++p) sum[p][v] = b;
  }
  SSR_UNROLL for (int run = 0; run < kRuns; ++run) {
    const float* pixels = in[run] + at;
    SSR_ROLLED for (int k = 0; k < length; ++k, weights += width) {
      Vec w[kVectors];
      SSR_UNROLL for (int v = 0; v < kVectors; ++v) w[v] = Vec::Load(weights + v * Vec::kLanes);
      SSR_UNROLL for (int p = 0; p < kPixels; ++p) {
        const Vec value = Vec::Broadcast(pixels[k + p * step]);
        SSR_UNROLL for (int v = 0; v < kVectors; ++v) sum[p][v] = Vec::Fma(value, w[v], sum[p][v]);
      }
    }
  }
  SSR_UNROLL for (int p = 0; p < kPixels; ++p) {
    SSR_UNROLL for (int v = 0; v < kVectors; ++v) {
      (kRelu ? Vec::Max(sum[p][v], Vec::Broadcast(0.0f)) : sum[p][v])
          .Store(out + p * width + v * Vec::kLanes);
    }
  }
}

// n outputs of kWidth channels, one group of kVectors after another.
template <int kRuns, int kWidth, bool kRelu>
SSR_INLINE void Pixels(const float* const* in, int step, int length, const float* weights, const float* bias,
                       int n, float* out) {
  constexpr int kAll = kWidth / Vec::kLanes;
  constexpr int kVectors = kAll < Tuning::kVectors ? kAll : Tuning::kVectors;
  constexpr int kPixels = kVectors == 1 ? Tuning::kFewPixels : Tuning::kPixels;
  for (int group = 0; group < kWidth; group += kVectors * Vec::kLanes) {
    const auto block = [&](auto count, int x) __attribute__((always_inline)) {
      PixelBlock<decltype(count)::kValue, kVectors, kRuns, kRelu>(in, int64_t{x} * step, step, length,
                                                                  weights + group, kWidth, bias + group,
                                                                  out + int64_t{x} * kWidth + group);
      return decltype(count)::kValue;
    };
    for (int x = 0; x < n;) {
      const int rest = n - x;  // one or two more than a block make two middling ones
      if (rest >= kPixels && rest != kPixels + 1 && rest != kPixels + 2) {
        x += block(Count<kPixels>(), x);
      } else if (kPixels > 8 && rest >= 8) {
        x += block(Count<8>(), x);
      } else if (rest == 5) {
        x += block(Count<5>(), x);
      } else if (rest >= 4) {
        x += block(Count<4>(), x);
      } else if (rest == 3) {
        x += block(Count<3>(), x);
      } else if (rest == 2) {
        x += block(Count<2>(), x);
      } else {
        x += block(Count<1>(), x);
      }
    }
  }
}

// A unit's 1x1 convolution of n pixels that lie one after another.
void Point(const DetectorUnit& unit, const float* in, int n, float* out) {
  if (unit.out == kManyChannels) {
    Pixels<1, kManyChannels, false>(&in, unit.in, unit.in, unit.point, unit.point_bias, n, out);
  } else {
    Pixels<1, kFewChannels, false>(&in, unit.in, unit.in, unit.point, unit.point_bias, n, out);
  }
}
