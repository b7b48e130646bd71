// How fast an AVX2 core multiplies and adds whole numbers, in each way that int8 could take.
#include <algorithm>
#include <chrono>

#include "timers.h"

#ifdef SSR_X86
#include <immintrin.h>
#endif

namespace ssr {

#ifdef SSR_X86
namespace {

constexpr int kSums = 12;  // in flight, of 16 registers
constexpr int64_t kRounds = 1 << 14;

// The same value, unknown to the compiler, which else takes equal products once.
#define SSR_RENEW(v) asm("" : "+x"(v))

struct Words {  // int16 by int16
  static constexpr int kProducts = 16;
  __attribute__((target("avx2"))) static __m256i Add(__m256i sum, __m256i in, __m256i& weights, __m256i) {
    SSR_RENEW(weights);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(in, weights));
  }
};

struct Bytes {  // bytes by weights of seven bits: two products fit into int16, no third
  static constexpr int kProducts = 32;
  __attribute__((target("avx2"))) static __m256i Add(__m256i sum, __m256i in, __m256i& weights,
                                                     __m256i ones) {
    SSR_RENEW(weights);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(in, weights), ones));
  }
};

struct SevenBits {  // both of seven bits: four products fit
  static constexpr int kProducts = 64;
  __attribute__((target("avx2"))) static __m256i Add(__m256i sum, __m256i in, __m256i& weights,
                                                     __m256i ones) {
    SSR_RENEW(weights);
    const __m256i first = _mm256_maddubs_epi16(in, weights);
    SSR_RENEW(weights);
    const __m256i four = _mm256_add_epi16(first, _mm256_maddubs_epi16(in, weights));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(four, ones));
  }
};

template <typename Way>
__attribute__((target("avx2"))) double Rate(double seconds) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  do {
    __m256i in = _mm256_set1_epi8(1), weights = in, ones = _mm256_set1_epi16(1), sums[kSums];
    SSR_RENEW(in);
    SSR_RENEW(ones);
    for (__m256i& sum : sums) sum = _mm256_setzero_si256();
    const auto begin = Clock::now();
    for (int64_t round = 0; round < kRounds; ++round) {
      _Pragma("GCC unroll 32") for (int i = 0; i < kSums; ++i) {
        sums[i] = Way::Add(sums[i], in, weights, ones);
      }
    }
    const double spent = std::chrono::duration<double>(Clock::now() - begin).count();
    for (__m256i& sum : sums) SSR_RENEW(sum);
    if (spent > 0) best = std::max(best, static_cast<double>(kRounds * kSums * Way::kProducts) / spent);
  } while (Clock::now() < end);
  return best;
}

}  // namespace

Status MeasureProducts(const std::string& way, double seconds, double* rate) {
  if (!__builtin_cpu_supports("avx2")) return {Code::kUnsupported, "this CPU has no AVX2"};
  if (way == "words") {
    *rate = Rate<Words>(seconds);
  } else if (way == "bytes") {
    *rate = Rate<Bytes>(seconds);
  } else if (way == "seven bits") {
    *rate = Rate<SevenBits>(seconds);
  } else {
    return {Code::kInvalidArgument, "way '" + way + "' is unknown, expected words, bytes or seven bits"};
  }
  return {};
}
#else
Status MeasureProducts(const std::string&, double, double*) {
  return {Code::kUnsupported, "this CPU has no AVX2"};
}
#endif

}  // namespace ssr
