// The network in AVX-512: a vector is the S stream's 16 channels, two are the X stream's.
#include "cpu/network.h"
#include "cpu/vec_avx512.h"

namespace ssr::cpu {
namespace {

// 24 to 28 sums of the 32 registers.
struct Tuning {
  static constexpr int kFirstX = 2, kFirstS = 1, kFirstColumns = 4;
  static constexpr int kWinogradVectorsX = 2, kWinogradTilesX = 9;
  static constexpr int kWinogradVectorsS = 1, kWinogradTilesS = 9;
};

#include "cpu/network.inl.h"

}  // namespace

void RunNetworkAvx512(const NetworkWeights& network, const uint8_t* image, float* scratch, float* dots) {
  RunNetwork(network, image, scratch, dots);
}

float* SumStageAvx512(const StageWeights& stage, int64_t count, const float* fx, const float* fs,
                      float* product, float* dots) {
  return SumStage(stage, count, fx, fs, product, dots);
}

}  // namespace ssr::cpu
