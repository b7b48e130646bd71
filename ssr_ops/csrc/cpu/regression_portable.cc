// The operator in plain C++: any stages, any strides, unaligned data; arithmetic in double.
#include <cstring>
#include <type_traits>

#include "core/regression_row.h"
#include "cpu/regression.h"

namespace ssr::cpu {
namespace {

// One row of a matrix, by value: what it points to may change under the kernel's stores, it may not.
template <typename T>
class Line {
 public:
  Line(const Matrix<T>& m, int64_t row)
      : data_(m.data == nullptr ? nullptr : m.data + row * m.row_stride), stride_(m.column_stride) {}
  double Load(int column) const {
    std::remove_const_t<T> value;
    std::memcpy(&value, data_ + column * stride_, sizeof value);
    return value;
  }
  void Store(int column, double value) const {
    if (data_ == nullptr) return;
    const T rounded = static_cast<T>(value);
    std::memcpy(data_ + column * stride_, &rounded, sizeof rounded);
  }

 private:
  T* data_;
  int64_t stride_;
};

template <typename T>
struct InputRow {
  template <class Params>
  InputRow(const Params& params, int64_t row)
      : p(params.p, row), eta(params.eta, row), delta(params.delta, row) {}
  double P(int i) const { return p.Load(i); }
  double Eta(int i) const { return eta.Load(i); }
  double Delta(int k) const { return delta.Load(k); }

  const Line<const T> p, eta, delta;
};

template <typename T>
struct GradientRow : InputRow<T> {
  GradientRow(const RegressionBackward<T>& params, int64_t row)
      : InputRow<T>(params, row),
        grad_p(params.grad_p, row),
        grad_eta(params.grad_eta, row),
        grad_delta(params.grad_delta, row) {}
  void SetP(int i, double value) { grad_p.Store(i, value); }
  void SetEta(int i, double value) { grad_eta.Store(i, value); }
  void SetDelta(int k, double value) { grad_delta.Store(k, value); }

  const Line<T> grad_p, grad_eta, grad_delta;
};

template <class Stages, typename T>
void Rows(const RegressionForward<T>& params) {
  const RowConstants<double> c = MakeRowConstants<double>(params.shape);
  for (int64_t n = 0; n < params.rows; ++n) {
    const InputRow<T> row(params, n);
    const T age = static_cast<T>(RegressRow<Stages>(c, row));
    std::memcpy(params.age + n * params.age_stride, &age, sizeof age);
  }
}

template <class Stages, typename T>
void Rows(const RegressionBackward<T>& params) {
  const RowConstants<double> c = MakeRowConstants<double>(params.shape);
  for (int64_t n = 0; n < params.rows; ++n) {
    GradientRow<T> row(params, n);
    T grad_age;
    std::memcpy(&grad_age, params.grad_age + n * params.grad_age_stride, sizeof grad_age);
    RegressRowBackward<Stages>(c, static_cast<double>(grad_age), row);
  }
}

}  // namespace

template <class Params>
void RegressPortable(const Params& params) {
  if (HasEqualStages(params.shape, 3, 3)) return Rows<EqualStages<3, 3>>(params);
  Rows<AnyStages>(params);
}

#define SSR_KERNEL(Params) template void RegressPortable(const Params&);
SSR_EACH_REGRESSION(SSR_KERNEL)

}  // namespace ssr::cpu
