// A pixel of a crop is a lane of 64 bits where its blend is 16 bits wide, of 128 where it is 32.
#include <immintrin.h>

#include "cpu/cut.inl.h"

namespace ssr::cpu {
namespace {

struct Avx2 {
  static __m128i Load8(const uint8_t* from) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  }
  static __m256i Load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
  static void Store(void* to, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(to), value); }
  static __m256i Join(__m128i low, __m128i high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
  }
  // The bytes of two pixels as 16-bit numbers, channel by channel.
  static __m128i Interleave(int first, int second) {
    const int a = first, b = second, none = 0x80;
    const auto byte = [](int value) { return static_cast<char>(value); };
    return _mm_setr_epi8(byte(a), byte(none), byte(b), byte(none), byte(a + 1), byte(none), byte(b + 1),
                         byte(none), byte(a + 2), byte(none), byte(b + 2), byte(none), byte(none), byte(none),
                         byte(none), byte(none));
  }

  // By pairs of columns (u, u + 2), (u + 1, u + 3): so the two halves of a register come to lie in order.
  struct Columns {
    explicit Columns(const PairTable& table) {
      for (int i = 0; i < kImageSize / 2; ++i) {
        const int low = i / 2 * 4 + i % 2, high = low + 2;
        offset[i][0] = table.offset[low], offset[i][1] = table.offset[high];
        shuffle[i] = Join(Interleave(table.first[low], table.second[low]),
                          Interleave(table.first[high], table.second[high]));
        weight[i] =
            Join(_mm_set1_epi32(Weights(table.weight[low])), _mm_set1_epi32(Weights(table.weight[high])));
      }
    }
    static int Weights(const int16_t* pair) {
      int both;
      std::memcpy(&both, pair, sizeof(both));
      return both;
    }
    int64_t offset[kImageSize / 2][2];
    __m256i shuffle[kImageSize / 2], weight[kImageSize / 2];
  };

  static void Along(const uint8_t* row, const Columns& columns, int16_t* sums) {
    const auto two = [&](int i) {
      const __m256i bytes = Join(Load8(row + columns.offset[i][0]), Load8(row + columns.offset[i][1]));
      const __m256i pairs = _mm256_shuffle_epi8(bytes, columns.shuffle[i]);
      return _mm256_srai_epi32(_mm256_madd_epi16(pairs, columns.weight[i]), 4);
    };
    for (int i = 0; i < kImageSize / 2; i += 2) Store(sums + 8 * i, _mm256_packs_epi32(two(i), two(i + 1)));
  }

  // The order in which four pixels of four bytes lose the last one each, in both halves.
  static __m256i PackOrder(bool swap) {
    const __m128i order = swap ? _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1)
                               : _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    return Join(order, order);
  }
  // Eight pixels as 24 bytes, of 28 that are written.
  static void Pack8(__m256i four, __m256i order, uint8_t* three) {
    const __m256i packed = _mm256_shuffle_epi8(four, order);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(three), _mm256_castsi256_si128(packed));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(three + 12), _mm256_extracti128_si256(packed, 1));
  }

  // Four times the blend of two rows.
  static __m256i FourTimes(__m256i a, __m256i b, __m256i a_weight, __m256i b_weight) {
    return _mm256_add_epi16(_mm256_mulhi_epi16(a, a_weight), _mm256_mulhi_epi16(b, b_weight));
  }

  static void Mix(const int16_t* upper, const int16_t* lower, int upper_weight, int lower_weight, bool swap,
                  uint8_t* out) {
    const __m256i a = _mm256_set1_epi16(static_cast<int16_t>(upper_weight));
    const __m256i b = _mm256_set1_epi16(static_cast<int16_t>(lower_weight));
    const __m256i two = _mm256_set1_epi16(2), order = PackOrder(swap);
    const auto four = [&](int i) {
      const __m256i sum = FourTimes(Load(upper + i), Load(lower + i), a, b);
      return _mm256_srli_epi16(_mm256_add_epi16(sum, two), 2);
    };
    alignas(32) uint8_t row[kImageRow + 8];
    for (int u = 0; u < kImageSize; u += 8) {
      const __m256i bytes = _mm256_packus_epi16(four(4 * u), four(4 * u + 16));
      Pack8(_mm256_permute4x64_epi64(bytes, 0xD8), order, row + 3 * u);
    }
    std::memcpy(out, row, kImageRow);
  }

  static void MixPairs(const PairRow& pairs, int second, bool swap, uint8_t* out) {
    const __m128i half = Interleave(0, second);
    const __m256i shuffle = Join(half, half), order = PackOrder(swap), two = _mm256_set1_epi32(2);
    alignas(32) uint8_t row[kImageRow + 8];
    for (int u = 0; u < kImageSize; u += 8) {
      const __m256i along = Load(pairs.along + u);
      const __m256i upper_weight = Load(pairs.down[0] + u), lower_weight = Load(pairs.down[1] + u);
      __m256i found[4];
      for (int i = 0; i < 4; ++i) {  // pixels u + i and u + i + 4
        const int at = u + i;
        const __m256i lanes =
            _mm256_add_epi32(_mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4), _mm256_set1_epi32(i));
        const __m256i w = _mm256_permutevar8x32_epi32(along, lanes);
        const auto sums = [&](const uint8_t* const* rows) {
          const __m256i bytes = Join(Load8(rows[at]), Load8(rows[at + 4]));
          return _mm256_srai_epi32(_mm256_madd_epi16(_mm256_shuffle_epi8(bytes, shuffle), w), 4);
        };
        const __m256i sum =
            FourTimes(sums(pairs.at[0]), sums(pairs.at[1]), _mm256_permutevar8x32_epi32(upper_weight, lanes),
                      _mm256_permutevar8x32_epi32(lower_weight, lanes));
        found[i] = _mm256_srli_epi32(_mm256_add_epi32(sum, two), 2);
      }
      const __m256i bytes =
          _mm256_packus_epi16(_mm256_packs_epi32(found[0], found[1]), _mm256_packs_epi32(found[2], found[3]));
      Pack8(bytes, order, row + 3 * u);
    }
    std::memcpy(out, row, kImageRow);
  }

  static void Convert(const uint8_t* luma, const uint8_t* chroma, int count, const YuvFactors& f,
                      uint32_t* pixels) {
    const auto all = [](int value) { return _mm256_set1_epi32(value); };
    const __m256i black = all(f.black), zero = all(0), half = all(1 << (kYuvBits - 1)), middle = all(128);
    const __m256i low = all(255);
    const auto byte = [&](__m256i value) {
      value = _mm256_srai_epi32(value, kYuvBits);
      return _mm256_min_epi32(_mm256_max_epi32(value, zero), low);
    };
    for (int i = 0; i < count; i += 8) {
      const __m256i y = _mm256_cvtepu8_epi32(Load8(luma + i));
      const __m256i both =
          _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(chroma + 2 * i)));
      const __m256i u = _mm256_sub_epi32(_mm256_and_si256(both, low), middle);
      const __m256i v = _mm256_sub_epi32(_mm256_srli_epi32(both, 8), middle);
      const auto times = [](__m256i value, int32_t factor) {
        return _mm256_mullo_epi32(value, _mm256_set1_epi32(factor));
      };
      const __m256i light =
          _mm256_add_epi32(times(_mm256_max_epi32(_mm256_sub_epi32(y, black), zero), f.luma), half);
      const __m256i blue = byte(_mm256_add_epi32(light, times(u, f.u_blue)));
      const __m256i green =
          byte(_mm256_add_epi32(light, _mm256_add_epi32(times(u, f.u_green), times(v, f.v_green))));
      const __m256i red = byte(_mm256_add_epi32(light, times(v, f.v_red)));
      Store(pixels + i,
            _mm256_or_si256(_mm256_or_si256(blue, _mm256_slli_epi32(green, 8)), _mm256_slli_epi32(red, 16)));
    }
  }

  static void Pack(const uint8_t* four, uint8_t* three) {
    const __m256i order = PackOrder(false);
    alignas(32) uint8_t row[kImageRow + 8];
    for (int u = 0; u < kImageSize; u += 8) Pack8(Load(four + 4 * u), order, row + 3 * u);
    std::memcpy(three, row, kImageRow);
  }

  // Five pixels at a time; the sixteenth byte is the next one's, and written again.
  static int64_t Swap(const uint8_t* from, int64_t count, uint8_t* to) {
    const __m128i order = _mm_setr_epi8(2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9, 14, 13, 12, 15);
    int64_t done = 0;
    for (; done + 6 <= count; done += 5) {
      const __m128i five = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 3 * done));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 3 * done), _mm_shuffle_epi8(five, order));
    }
    return done;
  }
};

}  // namespace

const CutKernels& CutAvx2() { return kCutKernels<Avx2>; }

}  // namespace ssr::cpu
