// The operator for stages (3, 3, 3) with AVX-512: sixteen float rows, or eight double rows, at a time.
#include <immintrin.h>

#include "cpu/regression.h"
#include "cpu/regression_simd.h"

namespace ssr::cpu {
namespace {

struct Float16 : Lanes<float, 64> {
  using Index = __m512i;
  static Index MakeIndex(const int* lanes) { return _mm512_loadu_si512(lanes); }
  static Reg Max(Reg a, Reg b) { return _mm512_max_ps(a, b); }  // b where either is NaN
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  template <unsigned kMask>
  static Reg Blend(Reg a, Reg b) {
    return _mm512_mask_blend_ps(kMask, a, b);
  }
  static Reg Permute(Reg a, Index index) { return _mm512_permutexvar_ps(index, a); }
  static Reg ZeroWhereLess(Reg value, Reg a, Reg b) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), value);
  }
};

struct Double8 : Lanes<double, 64> {
  using Index = __m512i;
  static Index MakeIndex(const int* lanes) {
    return _mm512_cvtepi32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes)));
  }
  static Reg Max(Reg a, Reg b) { return _mm512_max_pd(a, b); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  template <unsigned kMask>
  static Reg Blend(Reg a, Reg b) {
    return _mm512_mask_blend_pd(kMask, a, b);
  }
  static Reg Permute(Reg a, Index index) { return _mm512_permutexvar_pd(index, a); }
  static Reg ZeroWhereLess(Reg value, Reg a, Reg b) {
    return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(a, b, _CMP_NLT_UQ), value);
  }
};

}  // namespace

#define SSR_KERNEL(Params)                   \
  template <>                                \
  void RegressAvx512(const Params& params) { \
    RegressBlocks<Float16, Double8>(params); \
  }
SSR_EACH_REGRESSION(SSR_KERNEL)

}  // namespace ssr::cpu
