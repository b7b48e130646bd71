// Eight int32 in AVX2: the `Int32s` of int8's kernels, in each translation unit for itself.
#pragma once

#include "cpu/network.h"
#include "cpu/vec_avx2.h"

namespace ssr::cpu {
namespace {

struct Int32s {
  static constexpr int kLanes = 8;
  __m256i v;

  static Int32s Load(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
  static Int32s Broadcast(int32_t i) { return {_mm256_set1_epi32(i)}; }
  static Int32s Zero() { return {_mm256_setzero_si256()}; }
  friend Int32s operator+(Int32s a, Int32s b) { return {_mm256_add_epi32(a.v, b.v)}; }
  friend Int32s operator-(Int32s a, Int32s b) { return {_mm256_sub_epi32(a.v, b.v)}; }
  friend Int32s Half(Int32s a) { return {_mm256_srai_epi32(a.v, 1)}; }
  friend Int32s Max(Int32s a, Int32s b) { return {_mm256_max_epi32(a.v, b.v)}; }
  Vec Real() const { return {_mm256_cvtepi32_ps(v)}; }
  static Int32s Nearest(Vec value) { return {_mm256_cvtps_epi32(value.v)}; }
};

// What `Isa` is in int8 for both kinds of words.
struct Avx2Words {
  static constexpr SumStageKernel kSumStage = SumStageAvx2;
  using Sums = Int32s;
  using Weights = __m256i;
  using Inputs = __m256i;

  static Inputs Broadcast(const uint8_t* p) {
    int32_t word = 0;
    __builtin_memcpy(&word, p, sizeof(word));
    return _mm256_set1_epi32(word);
  }
  static Weights Load(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
};

}  // namespace
}  // namespace ssr::cpu
