// The network in int8 in AVX2 with AVX-VNNI: words of four bytes, two int16 in the first blocks.
#include "cpu/int32s_avx2.h"
#include "cpu/quantized.h"

namespace ssr::cpu {
namespace {

void StoreBytes(Int32s values, uint8_t* out) {
  const __m128i low = _mm256_castsi256_si128(values.v), high = _mm256_extracti128_si256(values.v, 1);
  const __m128i shorts = _mm_packs_epi32(low, high);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(shorts, shorts));
}

#include "cpu/int8_outputs.inl.h"

struct Isa : Avx2Words {
  static constexpr int kElement = 1;
  using Outputs = Int8Outputs;

  template <bool kFirst>
  static Sums Dot(Sums sums, Inputs a, Weights b) {
    // The intrinsics make GCC 12 copy every sum before and after.
    if constexpr (kFirst) {
      asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sums.v) : "x"(a), "x"(b));
    } else {
      asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums.v) : "x"(a), "x"(b));
    }
    return sums;
  }
};

// 12 sums of the 16 registers.
struct Tuning {
  static constexpr int kFirstX = 1, kFirstS = 0, kFirstColumns = 4, kFirstRest = 4;
  static constexpr int kVectorsX = 1, kColumnsX = 6;
  static constexpr int kVectorsS = 1, kColumnsS = 6;
};

#include "cpu/int8.inl.h"

}  // namespace

void RunInt8AvxVnni(const QuantizedNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  RunNetwork(network, image, scratch, dots);
}

}  // namespace ssr::cpu
