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

// T is float or double. p, eta: (rows, sum of s_k); delta: (rows, num_stages); age: (rows,).
template <typename T>
struct RegressionForward {
  RegressionShape shape;
  int64_t rows = 0;
  Matrix<const T> p, eta, delta;
  T* age = nullptr;
  int64_t age_stride = 1;
};

// Gradients of sum_n grad_age[n] * age[n]. A gradient output with null data is not computed.
template <typename T>
struct RegressionBackward {
  RegressionShape shape;
  int64_t rows = 0;
  Matrix<const T> p, eta, delta;
  const T* grad_age = nullptr;
  int64_t grad_age_stride = 1;  // 0 for an expanded scalar
  Matrix<T> grad_p, grad_eta, grad_delta;
};

// CPU: runs on the calling thread. Not clipped. rows == 0 is fine.
Status Regress(const RegressionForward<float>& params, Isa isa);
Status Regress(const RegressionForward<double>& params, Isa isa);
Status RegressBackward(const RegressionBackward<float>& params, Isa isa);
Status RegressBackward(const RegressionBackward<double>& params, Isa isa);

// CUDA: device pointers, launched on `stream` (a cudaStream_t), asynchronous. kUnsupported in a
// build without CUDA.
Status RegressCuda(const RegressionForward<float>& params, int device, void* stream);
Status RegressCuda(const RegressionForward<double>& params, int device, void* stream);
Status RegressBackwardCuda(const RegressionBackward<float>& params, int device, void* stream);
Status RegressBackwardCuda(const RegressionBackward<double>& params, int device, void* stream);

}  // namespace ssr
