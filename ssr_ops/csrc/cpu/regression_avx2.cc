// The operator for stages (3, 3, 3) with AVX2 and FMA: eight float rows, or four double rows, at a time.
#include <immintrin.h>

#include "cpu/regression.h"
#include "cpu/regression_simd.h"

namespace ssr::cpu {
namespace {

struct Float8 : Lanes<float, 32> {
  using Index = __m256i;
  static Index MakeIndex(const int* lanes) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes));
  }
  static Reg Max(Reg a, Reg b) { return _mm256_max_ps(a, b); }  // b where either is NaN
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  template <unsigned kMask>
  static Reg Blend(Reg a, Reg b) {
    return _mm256_blend_ps(a, b, kMask);
  }
  static Reg Permute(Reg a, Index index) { return _mm256_permutevar8x32_ps(a, index); }
  static Reg ZeroWhereLess(Reg value, Reg a, Reg b) {
    return _mm256_and_ps(value, _mm256_cmp_ps(a, b, _CMP_NLT_UQ));
  }
};

struct Double4 : Lanes<double, 32> {
  using Index = __m256i;  // as pairs of 32-bit lanes: AVX2 permutes no 64-bit lanes by a variable
  static Index MakeIndex(const int* lanes) {
    int halves[8];
    for (int j = 0; j < 8; ++j) halves[j] = 2 * lanes[j / 2] + j % 2;
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves));
  }
  static Reg Max(Reg a, Reg b) { return _mm256_max_pd(a, b); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_pd(a, b, c); }
  template <unsigned kMask>
  static Reg Blend(Reg a, Reg b) {
    return _mm256_blend_pd(a, b, kMask);
  }
  static Reg Permute(Reg a, Index index) {
    return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(a), index));
  }
  static Reg ZeroWhereLess(Reg value, Reg a, Reg b) {
    return _mm256_and_pd(value, _mm256_cmp_pd(a, b, _CMP_NLT_UQ));
  }
};

}  // namespace

#define SSR_KERNEL(Params)                  \
  template <>                               \
  void RegressAvx2(const Params& params) {  \
    RegressBlocks<Float8, Double4>(params); \
  }
SSR_EACH_REGRESSION(SSR_KERNEL)

}  // namespace ssr::cpu
