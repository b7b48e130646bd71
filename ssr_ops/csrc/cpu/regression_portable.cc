// The operator in plain C++: any stages, any strides, unaligned data; arithmetic in double.
#include <cstring>

#include "core/regression_row.h"
#include "cpu/regression.h"

namespace ssr::cpu {
namespace {

template <typename T>
class InputRow {
 public:
  InputRow(const Matrix<const T>& p, const Matrix<const T>& eta, const Matrix<const T>& delta, int64_t row)
      : p_(p), eta_(eta), delta_(delta), row_(row) {}
  double P(int i) const { return Load(p_, i); }
  double Eta(int i) const { return Load(eta_, i); }
  double Delta(int k) const { return Load(delta_, k); }

 private:
  double Load(const Matrix<const T>& m, int column) const {
    T value;
    std::memcpy(&value, m.data + row_ * m.row_stride + column * m.column_stride, sizeof value);
    return value;
  }
  const Matrix<const T>&p_, &eta_, &delta_;
  int64_t row_;
};

template <typename T>
class GradientRow : public InputRow<T> {
 public:
  GradientRow(const RegressionBackward<T>& params, int64_t row)
      : InputRow<T>(params.p, params.eta, params.delta, row), params_(params), row_(row) {}
  void SetP(int i, double value) { Store(params_.grad_p, i, value); }
  void SetEta(int i, double value) { Store(params_.grad_eta, i, value); }
  void SetDelta(int k, double value) { Store(params_.grad_delta, k, value); }

 private:
  void Store(const Matrix<T>& m, int column, double value) {
    if (m.data == nullptr) return;
    const T rounded = static_cast<T>(value);
    std::memcpy(m.data + row_ * m.row_stride + column * m.column_stride, &rounded, sizeof rounded);
  }
  const RegressionBackward<T>& params_;
  int64_t row_;
};

template <class Stages, typename T>
void ForwardRows(const RegressionForward<T>& params) {
  const RowConstants<double> c = MakeRowConstants<double>(params.shape);
  for (int64_t n = 0; n < params.rows; ++n) {
    const InputRow<T> row(params.p, params.eta, params.delta, n);
    const T age = static_cast<T>(RegressRow<Stages>(c, row));
    std::memcpy(params.age + n * params.age_stride, &age, sizeof age);
  }
}

template <class Stages, typename T>
void BackwardRows(const RegressionBackward<T>& params) {
  const RowConstants<double> c = MakeRowConstants<double>(params.shape);
  for (int64_t n = 0; n < params.rows; ++n) {
    GradientRow<T> row(params, n);
    T grad_age;
    std::memcpy(&grad_age, params.grad_age + n * params.grad_age_stride, sizeof grad_age);
    RegressRowBackward<Stages>(c, static_cast<double>(grad_age), row);
  }
}

template <typename T>
void Forward(const RegressionForward<T>& params) {
  if (HasEqualStages(params.shape, 3, 3)) return ForwardRows<EqualStages<3, 3>>(params);
  ForwardRows<AnyStages>(params);
}

template <typename T>
void Backward(const RegressionBackward<T>& params) {
  if (HasEqualStages(params.shape, 3, 3)) return BackwardRows<EqualStages<3, 3>>(params);
  BackwardRows<AnyStages>(params);
}

}  // namespace

void RegressPortable(const RegressionForward<float>& params) { Forward(params); }
void RegressPortable(const RegressionForward<double>& params) { Forward(params); }
void RegressPortable(const RegressionBackward<float>& params) { Backward(params); }
void RegressPortable(const RegressionBackward<double>& params) { Backward(params); }

}  // namespace ssr::cpu
