// The detector's units in AVX-512: 24 sums of the 32 registers.
#include "cpu/detector_chain.h"
#include "cpu/vec_avx512.h"

namespace ssr::cpu {
namespace {

struct Tuning {
  static constexpr int kVectors = 4, kPixels = 6, kFewPixels = 12;
};

#include "cpu/detector_chain.inl.h"

}  // namespace

void RunChainAvx512(const DetectorChain& chain, const ChainPlan& plan, float* work) {
  RunChain(chain, plan, work);
}

}  // namespace ssr::cpu
