// The operator's entry on the CPU: the choice of the kernel.
#include "cpu/regression.h"

#include "core/regression_row.h"

namespace ssr {

template <class Params>
Status Regress(const Params& params, [[maybe_unused]] Isa isa) {
  SSR_RETURN_IF_ERROR(CheckRegression(params));
#ifdef SSR_X86
  if (HasEqualStages(params.shape, 3, 3)) {
    if (isa == Isa::kAvx512) return cpu::RegressAvx512(params), Status();
    if (isa == Isa::kAvx2) return cpu::RegressAvx2(params), Status();
  }
#endif
  cpu::RegressPortable(params);
  return {};
}

#define SSR_ENTRY(Params) template Status Regress(const Params&, Isa);
SSR_EACH_REGRESSION(SSR_ENTRY)

}  // namespace ssr
