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

SSR_NETWORK_ENTRIES(Avx512)

}  // namespace ssr::cpu
