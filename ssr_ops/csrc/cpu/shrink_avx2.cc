// Narrow means by the 16-bit multiply-add of pairs: a part of a row is a lane of 128 bits, blue, green and
// red.
#include <immintrin.h>

#include "cpu/shrink.inl.h"

namespace ssr::cpu {
namespace {

__m256i Join(const uint16_t* low, const uint16_t* high) {
  const auto load = [](const uint16_t* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  };
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load(low)), load(high), 1);
}

__m256i Both(__m128i half) { return _mm256_broadcastsi128_si256(half); }

// Means of four columns at a time.
struct Blocks {
  explicit Blocks(const ShrunkRow& row)
      : factor(_mm256_set1_ps(Rounding<float>(row.area).factor)),
        offset(_mm256_set1_ps(Rounding<float>(row.area).offset)) {}

  // 12 bytes, of 14 that are written. weights: those of a pair of pixels lie `stride` before the next pair's.
  template <int kPairs>
  __attribute__((always_inline)) void Make(const int32_t* first, const uint32_t* weights, int64_t stride,
                                           int64_t pairs, const uint16_t* sums, uint8_t* out) const {
    const uint16_t* from[kShrinkBlock];
    for (int i = 0; i < kShrinkBlock; ++i) from[i] = sums + first[i];
    __m256i even = _mm256_setzero_si256(), odd = even;  // columns 0 and 2, 1 and 3
    for (int64_t pair = 0; pair < (kPairs != 0 ? kPairs : pairs); ++pair) {
      const __m256 four = _mm256_castsi256_ps(
          Both(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + pair * stride))));
      const auto add = [&](const uint16_t* low, const uint16_t* high, __m256i lanes, __m256i total) {
        const __m256i two = _mm256_shuffle_epi8(Join(low + 6 * pair, high + 6 * pair), beside);
        const __m256i by = _mm256_castps_si256(_mm256_permutevar_ps(four, lanes));
        return _mm256_add_epi32(total, _mm256_madd_epi16(two, by));
      };
      even = add(from[0], from[2], even_lanes, even);
      odd = add(from[1], from[3], odd_lanes, odd);
    }
    const __m256i shorts = _mm256_packs_epi32(Mean(even), Mean(odd));
    const __m256i bytes = _mm256_shuffle_epi8(shorts, three);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(bytes));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 6), _mm256_extracti128_si256(bytes, 1));
  }

  __m256i Mean(__m256i total) const {
    return _mm256_cvttps_epi32(_mm256_fmadd_ps(_mm256_cvtepi32_ps(total), factor, offset));
  }

  __m256 factor, offset;
  // Two pixels' values of each colour beside each other; of each pixel's four 16-bit values three bytes.
  __m256i beside = Both(_mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, -1, -1, -1, -1));
  __m256i three = Both(_mm_setr_epi8(0, 2, 4, 8, 10, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  __m256i even_lanes = _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2);
  __m256i odd_lanes = _mm256_setr_epi32(1, 1, 1, 1, 3, 3, 3, 3);
};

// kPairs: row.pairs, or 0 for any.
template <int kPairs>
void NarrowMeans(const ShrunkRow& row, const uint16_t* sums, uint8_t* out) {
  const Blocks blocks(row);
  const int32_t* const first = row.first;
  const uint32_t* const weights = row.weights;
  const int64_t columns = row.columns, pairs = row.pairs;
  const int64_t stride = (columns + kShrinkBlock - 1) / kShrinkBlock * kShrinkBlock;
  int64_t x = 0;
  for (; x + kShrinkBlock < columns; x += kShrinkBlock) {
    blocks.Make<kPairs>(first + x, weights + x, stride, pairs, sums, out + 3 * x);
  }
  uint8_t last[16];
  blocks.Make<kPairs>(first + x, weights + x, stride, pairs, sums, last);
  std::memcpy(out + 3 * x, last, static_cast<size_t>(3 * (columns - x)));
}

void ShrinkNarrow(const ShrunkRow& row, void* work, uint8_t* out) {
  auto* const sums = static_cast<uint16_t*>(work);
  SumRows(row, sums);
  row.pairs == 1   ? NarrowMeans<1>(row, sums, out)
  : row.pairs == 2 ? NarrowMeans<2>(row, sums, out)
                   : NarrowMeans<0>(row, sums, out);
}

}  // namespace

const ShrinkKernels& ShrinkAvx2() {
  static constexpr ShrinkKernels kKernels = {ShrinkNarrow, Shrink<float, double>, Shrink<double, double>};
  return kKernels;
}

}  // namespace ssr::cpu
