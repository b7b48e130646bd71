// The network in int8 in AVX2: words of two int16, which vpmaddwd multiplies without saturating.
#include "cpu/int32s_avx2.h"
#include "cpu/quantized.h"

namespace ssr::cpu {
namespace {

void StoreBytes(Int32s values, uint8_t* out) {
  const __m128i low = _mm256_castsi256_si128(values.v), high = _mm256_extracti128_si256(values.v, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_packs_epi32(low, high));
}

#include "cpu/int8_outputs.inl.h"

struct Isa : Avx2Words {
  static constexpr int kElement = 2;
  using Outputs = Int8Outputs;

  template <bool kFirst>
  static Sums Dot(Sums sums, Inputs a, Weights b) {
    return {_mm256_add_epi32(sums.v, _mm256_madd_epi16(a, b))};
  }
};

// 12 sums of the 16 registers.
struct Tuning {
  static constexpr int kFirstX = 2, kFirstS = 0, kFirstColumns = 2, kFirstRest = 4;
  static constexpr int kVectorsX = 1, kColumnsX = 6;
  static constexpr int kVectorsS = 1, kColumnsS = 6;
};

#include "cpu/int8.inl.h"

}  // namespace

void RunInt8Avx2(const QuantizedNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  RunNetwork(network, image, scratch, dots);
}

}  // namespace ssr::cpu
