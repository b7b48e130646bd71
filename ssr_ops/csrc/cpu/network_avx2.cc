// The network in AVX2 with FMA.
#include "cpu/network.h"
#include "cpu/vec_avx2.h"

namespace ssr::cpu {
namespace {

// 12 sums of the 16 registers.
struct Tuning {
  static constexpr int kFirstX = 2, kFirstS = 1, kFirstColumns = 2;
  static constexpr int kWinogradVectorsX = 4, kWinogradTilesX = 3;
  static constexpr int kWinogradVectorsS = 2, kWinogradTilesS = 5;
};

#include "cpu/network.inl.h"

}  // namespace

SSR_NETWORK_ENTRIES(Avx2)

}  // namespace ssr::cpu
