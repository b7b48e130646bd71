// Sixteen float32 in AVX-512: the `Vec` of the kernels' bodies, in each translation unit for itself.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace ssr::cpu {
namespace {

struct Vec {
  static constexpr int kLanes = 16;
  __m512 v;

  static Vec Load(const float* p) { return {_mm512_loadu_ps(p)}; }
  void Store(float* p) const { _mm512_storeu_ps(p, v); }
  static Vec Broadcast(float f) { return {_mm512_set1_ps(f)}; }
  static Vec Bytes(const uint8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
  }
  friend Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
  // Only used by Tanh: an estimate of the reciprocal with one Newton step, 1 to 2 units in the last place.
  friend Vec operator/(Vec a, Vec b) {
    const __m512 r = _mm512_rcp14_ps(b.v);
    const __m512 residue = _mm512_fnmadd_ps(b.v, r, _mm512_set1_ps(1.0f));
    return {_mm512_mul_ps(a.v, _mm512_fmadd_ps(r, residue, r))};
  }
  static Vec Fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  static Vec Max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
  static Vec Min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
  static Vec Abs(Vec a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
  static Vec CopySign(Vec magnitude, Vec sign) {
    return {_mm512_or_ps(magnitude.v, _mm512_and_ps(_mm512_set1_ps(-0.0f), sign.v))};
  }
  static Vec ShiftLeft23(Vec a) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 23))};
  }
  static Vec AddBits(Vec a, Vec b) {
    return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.v), _mm512_castps_si512(b.v)))};
  }
};

}  // namespace
}  // namespace ssr::cpu
