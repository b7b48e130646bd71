// The operator's entry on the CPU: the choice of the kernel.
#include "cpu/regression.h"

#include "core/regression_row.h"

namespace ssr {
namespace {

template <class Params>
Status Dispatch(const Params& params, [[maybe_unused]] Isa isa) {
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

}  // namespace

Status Regress(const RegressionForward<float>& params, Isa isa) { return Dispatch(params, isa); }
Status Regress(const RegressionForward<double>& params, Isa isa) { return Dispatch(params, isa); }
Status RegressBackward(const RegressionBackward<float>& params, Isa isa) { return Dispatch(params, isa); }
Status RegressBackward(const RegressionBackward<double>& params, Isa isa) { return Dispatch(params, isa); }

}  // namespace ssr
