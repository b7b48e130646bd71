// The network in AVX2 with FMA.
#include <immintrin.h>

#include "cpu/network.h"

namespace ssr::cpu {
namespace {

struct Vec {
  static constexpr int kLanes = 8;
  __m256 v;

  static Vec Load(const float* p) { return {_mm256_loadu_ps(p)}; }
  void Store(float* p) const { _mm256_storeu_ps(p, v); }
  static Vec Broadcast(float f) { return {_mm256_set1_ps(f)}; }
  static Vec Bytes(const uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
  }
  friend Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
  static Vec Fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  static Vec Max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
  static Vec Min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
  static Vec Abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
  static Vec CopySign(Vec magnitude, Vec sign) {
    return {_mm256_or_ps(magnitude.v, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign.v))};
  }
  static Vec ShiftLeft23(Vec a) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.v), 23))};
  }
  static Vec AddBits(Vec a, Vec b) {
    return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v), _mm256_castps_si256(b.v)))};
  }
};

// 12 sums of the 16 registers.
struct Tuning {
  static constexpr int kPeakSums = 12;
  static constexpr int kFirstX = 2, kFirstS = 1, kFirstColumns = 2;
  static constexpr int kWinogradVectorsX = 4, kWinogradTilesX = 3;
  static constexpr int kWinogradVectorsS = 2, kWinogradTilesS = 5;
};

#include "cpu/network_body.h"

}  // namespace

void RunNetworkAvx2(const NetworkWeights& network, const uint8_t* image, float* scratch, float* dots) {
  RunNetwork(network, image, scratch, dots);
}

float* SumStageAvx2(const StageWeights& stage, int64_t count, const float* fx, const float* fs,
                    float* product, float* dots) {
  return SumStage(stage, count, fx, fs, product, dots);
}

int64_t MultiplyAddAvx2(int64_t rounds, float* value) { return MultiplyAdd(rounds, value); }

}  // namespace ssr::cpu
