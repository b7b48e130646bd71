#include "cpu/cut.inl.h"

namespace ssr::cpu {
namespace {

struct Portable {
  struct Columns {
    explicit Columns(const PairTable& given) : table(given) {}
    const PairTable& table;
  };

  static void Along(const uint8_t* row, const Columns& columns, int16_t* sums) {
    const PairTable& table = columns.table;
    for (int u = 0; u < kImageSize; ++u) {
      const uint8_t *first = row + table.offset[u] + table.first[u],
                    *second = row + table.offset[u] + table.second[u];
      for (int c = 0; c < 3; ++c) {
        const int sum = first[c] * table.weight[u][0] + second[c] * table.weight[u][1];
        sums[4 * u + c] = static_cast<int16_t>(sum >> 4);
      }
    }
  }

  static uint8_t Byte(int upper, int lower, int upper_weight, int lower_weight) {
    return static_cast<uint8_t>(((upper * upper_weight >> 16) + (lower * lower_weight >> 16) + 2) >> 2);
  }

  static void Mix(const int16_t* upper, const int16_t* lower, int upper_weight, int lower_weight, bool swap,
                  uint8_t* out) {
    for (int u = 0; u < kImageSize; ++u) {
      for (int c = 0; c < 3; ++c) {
        out[3 * u + (swap ? 2 - c : c)] =
            Byte(upper[4 * u + c], lower[4 * u + c], upper_weight, lower_weight);
      }
    }
  }

  static void MixPairs(const PairRow& pairs, int second, bool swap, uint8_t* out) {
    for (int u = 0; u < kImageSize; ++u) {
      const int16_t* w = pairs.along[u];
      for (int c = 0; c < 3; ++c) {
        const int upper = (pairs.at[0][u][c] * w[0] + pairs.at[0][u][second + c] * w[1]) >> 4;
        const int lower = (pairs.at[1][u][c] * w[0] + pairs.at[1][u][second + c] * w[1]) >> 4;
        out[3 * u + (swap ? 2 - c : c)] = Byte(upper, lower, pairs.down[0][u], pairs.down[1][u]);
      }
    }
  }

  static void Convert(const uint8_t* luma, const uint8_t* chroma, int count, const YuvFactors& factors,
                      uint32_t* pixels) {
    for (int i = 0; i < count; ++i) pixels[i] = YuvPixel(luma[i], chroma[2 * i], chroma[2 * i + 1], factors);
  }

  static void Pack(const uint8_t* four, uint8_t* three) {
    for (int u = 0; u < kImageSize; ++u) {
      for (int c = 0; c < 3; ++c) three[3 * u + c] = four[4 * u + c];
    }
  }

  static int64_t Swap(const uint8_t*, int64_t, uint8_t*) { return 0; }
};

}  // namespace

const CutKernels& CutPortable() { return kCutKernels<Portable>; }

}  // namespace ssr::cpu
