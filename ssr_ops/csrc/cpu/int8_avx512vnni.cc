// The network in int8 in AVX-512 with VNNI: words of four bytes, two int16 in the first blocks.
#include "cpu/quantized.h"
#include "cpu/vec_avx512.h"

namespace ssr::cpu {
namespace {

struct Int32s {
  static constexpr int kLanes = 16;
  __m512i v;

  static Int32s Load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  static Int32s Broadcast(int32_t i) { return {_mm512_set1_epi32(i)}; }
  static Int32s Zero() { return {_mm512_setzero_si512()}; }
  friend Int32s operator+(Int32s a, Int32s b) { return {_mm512_add_epi32(a.v, b.v)}; }
  friend Int32s operator-(Int32s a, Int32s b) { return {_mm512_sub_epi32(a.v, b.v)}; }
  friend Int32s Half(Int32s a) { return {_mm512_srai_epi32(a.v, 1)}; }
  friend Int32s Max(Int32s a, Int32s b) { return {_mm512_max_epi32(a.v, b.v)}; }
  Vec Real() const { return {_mm512_cvtepi32_ps(v)}; }
  static Int32s Nearest(Vec value) { return {_mm512_cvtps_epi32(value.v)}; }
};

void StoreBytes(Int32s values, uint8_t* out) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(values.v));
}

#include "cpu/int8_outputs.inl.h"

struct Isa {
  static constexpr int kElement = 1;
  static constexpr SumStageKernel kSumStage = SumStageAvx512;
  using Sums = Int32s;
  using Outputs = Int8Outputs;
  using Weights = __m512i;
  using Inputs = __m512i;

  static Inputs Broadcast(const uint8_t* p) {
    int32_t word = 0;
    __builtin_memcpy(&word, p, sizeof(word));
    return _mm512_set1_epi32(word);
  }
  static Weights Load(const uint32_t* p) { return _mm512_loadu_si512(p); }
  template <bool kFirst>
  static Sums Dot(Sums sums, Inputs a, Weights b) {
    // The intrinsics make GCC 12 copy every sum before and after.
    if constexpr (kFirst) {
      asm("vpdpwssd %2, %1, %0" : "+v"(sums.v) : "v"(a), "v"(b));
    } else {
      asm("vpdpbusd %2, %1, %0" : "+v"(sums.v) : "v"(a), "v"(b));
    }
    return sums;
  }
};

// 24 to 28 sums of the 32 registers.
struct Tuning {
  static constexpr int kFirstX = 2, kFirstS = 0, kFirstColumns = 4, kFirstRest = 8;
  static constexpr int kVectorsX = 2, kColumnsX = 6;
  static constexpr int kVectorsS = 1, kColumnsS = 14;
};

#include "cpu/int8.inl.h"

}  // namespace

void RunInt8Avx512Vnni(const QuantizedNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  RunNetwork(network, image, scratch, dots);
}

}  // namespace ssr::cpu
