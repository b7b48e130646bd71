// The detector's units in AVX2 with FMA: 12 sums of the 16 registers.
#include "cpu/detector_chain.h"
#include "cpu/vec_avx2.h"

namespace ssr::cpu {
namespace {

struct Tuning {
  static constexpr int kVectors = 2, kPixels = 6, kFewPixels = 6;
};

#include "cpu/detector_chain.inl.h"

}  // namespace

void RunChainAvx2(const DetectorChain& chain, const ChainPlan& plan, float* work) {
  RunChain(chain, plan, work);
}

}  // namespace ssr::cpu
