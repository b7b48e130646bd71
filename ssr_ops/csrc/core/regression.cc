// The operator's boundary: what every entry point refuses.
#include <string>

#include "core/contract.h"
#include "core/regression_row.h"
#include "ssr/params.h"

namespace ssr {
namespace {

Status Invalid(const std::string& message) { return {Code::kInvalidArgument, message}; }

template <typename T>
Status CheckShape(const RegressionShape& shape, int64_t rows) {
  if (shape.num_stages < 1 || shape.num_stages > kMaxStages) {
    return Invalid("stages: expected 1 to " + std::to_string(kMaxStages) + " of them, got " +
                   std::to_string(shape.num_stages));
  }
  int64_t bins = 0;
  for (int k = 0; k < shape.num_stages; ++k) {
    if (shape.stages[k] < 1) {
      return Invalid("stages: expected at least 1 bin each, got " + std::to_string(shape.stages[k]));
    }
    bins += shape.stages[k];
  }
  constexpr int64_t kMaxBins = 1 << 24;  // bin numbers are exact in float32 up to here
  if (bins > kMaxBins)
    return Invalid("stages: expected at most 2^24 bins in all, got " + std::to_string(bins));
  const struct {
    const char* name;
    double value;
  } constants[] = {{"value_range", shape.value_range},
                   {"lambda_index", shape.lambda_index},
                   {"lambda_width", shape.lambda_width},
                   {"denominator_floor", shape.denominator_floor}};
  for (const auto& constant : constants) {
    if (!Representable<T>(constant.value)) {
      return Invalid(std::string(constant.name) + ": expected a number that is finite in float" +
                     std::to_string(8 * sizeof(T)) + ", got " + NumberText(constant.value));
    }
  }
  if (!(shape.denominator_floor >= kSmallestFloor)) {
    return Invalid("denominator_floor: must be at least " + NumberText(kSmallestFloor) + ", got " +
                   NumberText(shape.denominator_floor));
  }
  if (rows < 0) return Invalid("rows: expected at least 0, got " + std::to_string(rows));
  return {};
}

template <typename T>
Status Check(const RegressionInputs<T>& params) {
  SSR_RETURN_IF_ERROR(CheckShape<T>(params.shape, params.rows));
  if (params.rows > 0 &&
      (params.p.data == nullptr || params.eta.data == nullptr || params.delta.data == nullptr)) {
    return Invalid("p, eta and delta: expected data, got null");
  }
  return {};
}

template <typename T>
Status CheckRest(const RegressionForward<T>& params) {
  if (params.rows > 0 && params.age == nullptr) return Invalid("age: expected memory to write to, got null");
  return {};
}

template <typename T>
Status CheckRest(const RegressionBackward<T>& params) {
  if (params.rows > 0 && params.grad_age == nullptr) return Invalid("grad_age: expected data, got null");
  return {};
}

}  // namespace

template <class Params>
Status CheckRegression(const Params& params) {
  SSR_RETURN_IF_ERROR(Check(params));
  return CheckRest(params);
}

#define SSR_CHECKED(Params) template Status CheckRegression(const Params&);
SSR_EACH_REGRESSION(SSR_CHECKED)

#ifndef SSR_CUDA
template <class Params>
Status RegressCuda(const Params&, int, void*) {
  return {Code::kUnsupported, "this build of the native core has no CUDA; build it with -DSSR_CUDA=ON"};
}

#define SSR_REFUSED(Params) template Status RegressCuda(const Params&, int, void*);
SSR_EACH_REGRESSION(SSR_REFUSED)
#endif

}  // namespace ssr
