// The operator's boundary: plain structs of sizes, strides (in elements) and pointers.
#pragma once

#include <cstdint>

#include "ssr/implementation.h"
#include "ssr/status.h"

namespace ssr {

constexpr int kMaxStages = 16;
constexpr double kSmallestFloor = 1e-6;  // three times over, 1 / d_j stays far inside float32's range

// One (rows, columns) matrix. T is const for inputs.
template <typename T>
struct Matrix {
  T* data = nullptr;
  int64_t row_stride = 0;
  int64_t column_stride = 0;
};

// The constants of Equation 7: sum_k [sum_i p_i (i + lambda_index eta_i)] V / prod_{j<=k} s_j d_j,
// d_j = max(1 + lambda_width delta_j, denominator_floor), with a floor of kSmallestFloor or more.
struct RegressionShape {
  int num_stages = 0;
  int stages[kMaxStages] = {};  // bins s_k, at least 1 each
  double value_range = 0;
  double lambda_index = 1;
  double lambda_width = 1;
  double denominator_floor = 1e-3;
};

// T is float or double. p, eta: (rows, sum of s_k); delta: (rows, num_stages).
template <typename T>
struct RegressionInputs {
  RegressionShape shape;
  int64_t rows = 0;
  Matrix<const T> p, eta, delta;
};

// age: (rows,), not clipped.
template <typename T>
struct RegressionForward : RegressionInputs<T> {
  T* age = nullptr;
  int64_t age_stride = 1;
};

// Gradients of sum_n grad_age[n] * age[n]. A gradient output with null data is not computed.
template <typename T>
struct RegressionBackward : RegressionInputs<T> {
  const T* grad_age = nullptr;
  int64_t grad_age_stride = 1;  // 0 for an expanded scalar
  Matrix<T> grad_p, grad_eta, grad_delta;
};

// What the functions below are there for, each by an explicit instantiation.
#define SSR_EACH_REGRESSION(apply)                                                                  \
  apply(RegressionForward<float>) apply(RegressionForward<double>) apply(RegressionBackward<float>) \
      apply(RegressionBackward<double>)

// CPU: runs on the calling thread. rows == 0 is fine.
template <class Params>
Status Regress(const Params& params, Isa isa);

// CUDA: device pointers, launched on `stream` (a cudaStream_t), asynchronous. kUnsupported in a
// build without CUDA.
template <class Params>
Status RegressCuda(const Params& params, int device, void* stream);

}  // namespace ssr
