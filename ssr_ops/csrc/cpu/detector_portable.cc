// The detector's units for any CPU that GCC or Clang compiles for.
#include "cpu/detector_chain.h"
#include "cpu/vec_portable.h"

namespace ssr::cpu {
namespace {

struct Tuning {
  static constexpr int kVectors = 2, kPixels = 6, kFewPixels = 6;
};

#include "cpu/detector_chain.inl.h"

}  // namespace

void RunChainPortable(const DetectorChain& chain, const ChainPlan& plan, float* work) {
  RunChain(chain, plan, work);
}

}  // namespace ssr::cpu
