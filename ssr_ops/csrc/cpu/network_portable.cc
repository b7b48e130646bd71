// The network for any CPU that GCC or Clang compiles for: four lanes in the compiler's own vector type.
#include "cpu/network.h"
#include "cpu/vec_portable.h"

namespace ssr::cpu {
namespace {

struct Tuning {
  static constexpr int kFirstX = 1, kFirstS = 1, kFirstColumns = 2;
  static constexpr int kWinogradVectorsX = 2, kWinogradTilesX = 5;
  static constexpr int kWinogradVectorsS = 2, kWinogradTilesS = 5;
};

#include "cpu/network.inl.h"

}  // namespace

SSR_NETWORK_ENTRIES(Portable)

}  // namespace ssr::cpu
