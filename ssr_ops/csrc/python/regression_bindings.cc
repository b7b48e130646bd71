// The operator for Python: addresses and strides (in elements) in, the core's status out. The caller
// (ssr_ops/op.py) has checked shapes and keeps the memory alive.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "python/bindings.h"
#include "ssr/implementation.h"
#include "ssr/params.h"

namespace py = pybind11;

namespace ssr {
namespace {

constexpr int kOnCpu = -1;

RegressionShape MakeShape(const std::vector<int>& stages, double value_range, double lambda_index,
                          double lambda_width, double denominator_floor) {
  if (stages.empty() || stages.size() > kMaxStages) {
    throw py::value_error("stages: expected 1 to " + std::to_string(kMaxStages) + " of them, got " +
                          std::to_string(stages.size()));
  }
  RegressionShape shape;
  shape.num_stages = static_cast<int>(stages.size());
  for (size_t k = 0; k < stages.size(); ++k) shape.stages[k] = stages[k];
  shape.value_range = value_range;
  shape.lambda_index = lambda_index;
  shape.lambda_width = lambda_width;
  shape.denominator_floor = denominator_floor;
  return shape;
}

Isa ChosenIsa() {
  Isa isa;
  RaiseIfError(ChooseIsa("", &isa));
  return isa;
}

template <typename T>
Matrix<T> MakeMatrix(uintptr_t address, int64_t row_stride, int64_t column_stride) {
  return {reinterpret_cast<T*>(address), row_stride, column_stride};
}

template <class Params>
void Run(const Params& params, int device, uintptr_t stream) {
  Status status;
  if (device == kOnCpu) {
    const Isa isa = ChosenIsa();
    py::gil_scoped_release release;
    status = Regress(params, isa);
  } else {
    status = RegressCuda(params, device, reinterpret_cast<void*>(stream));
  }
  RaiseIfError(status);
}

template <typename T>
void Forward(const RegressionShape& shape, int64_t rows, int device, uintptr_t stream, uintptr_t p,
             int64_t p_row, int64_t p_column, uintptr_t eta, int64_t eta_row, int64_t eta_column,
             uintptr_t delta, int64_t delta_row, int64_t delta_column, uintptr_t age) {
  Run(RegressionForward<T>{{shape, rows, MakeMatrix<const T>(p, p_row, p_column),
                            MakeMatrix<const T>(eta, eta_row, eta_column),
                            MakeMatrix<const T>(delta, delta_row, delta_column)},
                           reinterpret_cast<T*>(age)},
      device, stream);
}

// A gradient whose address is zero is not computed.
template <typename T>
void Backward(const RegressionShape& shape, int64_t rows, int device, uintptr_t stream, uintptr_t p,
              int64_t p_row, int64_t p_column, uintptr_t eta, int64_t eta_row, int64_t eta_column,
              uintptr_t delta, int64_t delta_row, int64_t delta_column, uintptr_t grad_age,
              int64_t grad_age_stride, uintptr_t grad_p, int64_t grad_p_row, int64_t grad_p_column,
              uintptr_t grad_eta, int64_t grad_eta_row, int64_t grad_eta_column, uintptr_t grad_delta,
              int64_t grad_delta_row, int64_t grad_delta_column) {
  Run(RegressionBackward<T>{{shape, rows, MakeMatrix<const T>(p, p_row, p_column),
                             MakeMatrix<const T>(eta, eta_row, eta_column),
                             MakeMatrix<const T>(delta, delta_row, delta_column)},
                            reinterpret_cast<const T*>(grad_age),
                            grad_age_stride,
                            MakeMatrix<T>(grad_p, grad_p_row, grad_p_column),
                            MakeMatrix<T>(grad_eta, grad_eta_row, grad_eta_column),
                            MakeMatrix<T>(grad_delta, grad_delta_row, grad_delta_column)},
      device, stream);
}

}  // namespace

void BindRegression(py::module_& m) {
  py::class_<RegressionShape>(m, "RegressionShape")
      .def(py::init(&MakeShape), py::arg("stages"), py::arg("value_range"), py::arg("lambda_index"),
           py::arg("lambda_width"), py::arg("denominator_floor"));
  m.def("implementation", [] { return std::string(IsaName(ChosenIsa())); });
  m.def("regress_float", &Forward<float>);
  m.def("regress_double", &Forward<double>);
  m.def("regress_backward_float", &Backward<float>);
  m.def("regress_backward_double", &Backward<double>);
  m.attr("max_stages") = kMaxStages;
}

}  // namespace ssr
