// The operator on CUDA, one thread a row. Contiguous (3, 3, 3) rows go through shared memory: blocks read
// and write device memory in consecutive 16-byte pieces, and the odd row lengths 9 and 3 keep the threads
// of a warp on different banks. Everything else (other stages, strides) is read where it lies.
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "core/regression_row.h"
#include "cuda/runtime.h"

namespace ssr {
namespace {

constexpr int kThreads = 256;  // rows a block
constexpr int kStages = 3, kBins = 3, kColumns = kStages * kBins;
using Fixed = EqualStages<kStages, kBins>;

// In double, as the portable kernel: with many stages 1 / prod s_j d_j leaves float32's range.
template <typename T>
struct StridedRow {
  const RegressionInputs<T>& in;
  int64_t n;
  __device__ double Load(const Matrix<const T>& m, int i) const {
    return m.data[n * m.row_stride + i * m.column_stride];
  }
  __device__ double P(int i) const { return Load(in.p, i); }
  __device__ double Eta(int i) const { return Load(in.eta, i); }
  __device__ double Delta(int k) const { return Load(in.delta, k); }
};

template <typename T>
struct StridedGradientRow : StridedRow<T> {
  const RegressionBackward<T>& out;
  __device__ StridedGradientRow(const RegressionBackward<T>& params, int64_t n)
      : StridedRow<T>{params, n}, out(params) {}
  __device__ void Store(const Matrix<T>& m, int i, double value) {
    if (m.data != nullptr) m.data[this->n * m.row_stride + i * m.column_stride] = static_cast<T>(value);
  }
  __device__ void SetP(int i, double value) { Store(out.grad_p, i, value); }
  __device__ void SetEta(int i, double value) { Store(out.grad_eta, i, value); }
  __device__ void SetDelta(int k, double value) { Store(out.grad_delta, k, value); }
};

template <typename T>
struct SharedRow {
  T *p, *eta, *delta;
  __device__ T P(int i) const { return p[i]; }
  __device__ T Eta(int i) const { return eta[i]; }
  __device__ T Delta(int k) const { return delta[k]; }
  __device__ void SetP(int i, T value) { p[i] = value; }
  __device__ void SetEta(int i, T value) { eta[i] = value; }
  __device__ void SetDelta(int k, T value) { delta[k] = value; }
};

// Copies count elements between a 16-byte aligned shared array and device memory, kIn: to the shared one.
// With `aligned` the device memory is 16-byte aligned as well.
template <int kCapacity, bool kIn, typename T>
__device__ __forceinline__ void Copy(T* __restrict__ to, const T* __restrict__ from, int count,
                                     bool aligned) {
  constexpr int kPieces = kCapacity * static_cast<int>(sizeof(T)) / 16;
  if (aligned && count == kCapacity) {
#pragma unroll
    for (int i = 0; i < (kPieces + kThreads - 1) / kThreads; ++i) {
      const int at = i * kThreads + static_cast<int>(threadIdx.x);
      const float4* piece = reinterpret_cast<const float4*>(from) + at;
      if (at < kPieces) reinterpret_cast<float4*>(to)[at] = kIn ? __ldcs(piece) : *piece;
    }
    return;
  }
  for (int i = threadIdx.x; i < count; i += kThreads) to[i] = from[i];
}

// The inputs of `rows` rows from `begin` on.
template <typename T>
__device__ __forceinline__ void CopyIn(const RegressionInputs<T>& params, int64_t begin, int rows,
                                       bool aligned, T* p, T* eta, T* delta) {
  Copy<kThreads * kColumns, true>(p, params.p.data + begin * kColumns, rows * kColumns, aligned);
  Copy<kThreads * kColumns, true>(eta, params.eta.data + begin * kColumns, rows * kColumns, aligned);
  Copy<kThreads * kStages, true>(delta, params.delta.data + begin * kStages, rows * kStages, aligned);
  __syncthreads();
}

// The block's rows of a gradient; one without data is not wanted.
template <int kWidth, typename T>
__device__ __forceinline__ void CopyOut(const Matrix<T>& gradient, int64_t begin, const T* shared, int rows,
                                        bool aligned) {
  if (gradient.data == nullptr) return;
  Copy<kThreads * kWidth, false>(gradient.data + begin * kWidth, shared, rows * kWidth, aligned);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    ForwardStrided(const __grid_constant__ RegressionForward<T> params,
                   const __grid_constant__ RowConstants<double> c) {
  const int64_t n = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (n >= params.rows) return;
  params.age[n * params.age_stride] = static_cast<T>(RegressRow<AnyStages>(c, StridedRow<T>{params, n}));
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    BackwardStrided(const __grid_constant__ RegressionBackward<T> params,
                    const __grid_constant__ RowConstants<double> c) {
  const int64_t n = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (n >= params.rows) return;
  StridedGradientRow<T> row(params, n);
  RegressRowBackward<AnyStages>(c, static_cast<double>(params.grad_age[n * params.grad_age_stride]), row);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    ForwardFixed(const __grid_constant__ RegressionForward<T> params,
                 const __grid_constant__ RowConstants<T> c, bool aligned) {
  __shared__ __align__(16) T p[kThreads * kColumns], eta[kThreads * kColumns], delta[kThreads * kStages];
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kThreads;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kThreads), params.rows - begin));
  CopyIn(params, begin, rows, aligned, p, eta, delta);
  const int r = threadIdx.x;
  if (r >= rows) return;
  const SharedRow<T> row{p + r * kColumns, eta + r * kColumns, delta + r * kStages};
  params.age[(begin + r) * params.age_stride] = RegressRow<Fixed>(c, row);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    BackwardFixed(const __grid_constant__ RegressionBackward<T> params,
                  const __grid_constant__ RowConstants<T> c, bool aligned) {
  __shared__ __align__(16) T p[kThreads * kColumns], eta[kThreads * kColumns], delta[kThreads * kStages];
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kThreads;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kThreads), params.rows - begin));
  CopyIn(params, begin, rows, aligned, p, eta, delta);
  const int r = threadIdx.x;
  if (r < rows) {
    SharedRow<T> row{p + r * kColumns, eta + r * kColumns, delta + r * kStages};
    RegressRowBackward<Fixed>(c, params.grad_age[(begin + r) * params.grad_age_stride], row);
  }
  __syncthreads();
  CopyOut<kColumns>(params.grad_p, begin, p, rows, aligned);
  CopyOut<kColumns>(params.grad_eta, begin, eta, rows, aligned);
  CopyOut<kStages>(params.grad_delta, begin, delta, rows, aligned);
}

template <typename T>
bool Packed(const Matrix<T>& m, int columns) {
  return m.data == nullptr || (m.column_stride == 1 && m.row_stride == columns);
}

template <typename T>
bool Aligned(const Matrix<T>& m) {
  return reinterpret_cast<uintptr_t>(m.data) % 16 == 0;
}

template <typename T>
bool InputsFixed(const RegressionInputs<T>& params) {
  return HasEqualStages(params.shape, kStages, kBins) && Packed(params.p, kColumns) &&
         Packed(params.eta, kColumns) && Packed(params.delta, kStages);
}

template <typename T>
bool InputsAligned(const RegressionInputs<T>& params) {
  return Aligned(params.p) && Aligned(params.eta) && Aligned(params.delta);
}

template <typename T>
Status LaunchKernel(const RegressionForward<T>& params, unsigned blocks, cudaStream_t stream) {
  if (!InputsFixed(params)) {
    return cuda::Launch("operator", ForwardStrided<T>, blocks, kThreads, stream, params,
                        MakeRowConstants<double>(params.shape));
  }
  const RowConstants<T> c = MakeRowConstants<T>(params.shape);
  const bool aligned = InputsAligned(params);
  return cuda::Launch("operator", ForwardFixed<T>, blocks, kThreads, stream, params, c, aligned);
}

template <typename T>
Status LaunchKernel(const RegressionBackward<T>& params, unsigned blocks, cudaStream_t stream) {
  if (!InputsFixed(params) || !Packed(params.grad_p, kColumns) || !Packed(params.grad_eta, kColumns) ||
      !Packed(params.grad_delta, kStages)) {
    return cuda::Launch("operator's gradient", BackwardStrided<T>, blocks, kThreads, stream, params,
                        MakeRowConstants<double>(params.shape));
  }
  const RowConstants<T> c = MakeRowConstants<T>(params.shape);
  const bool aligned = InputsAligned(params) && Aligned(params.grad_p) && Aligned(params.grad_eta) &&
                       Aligned(params.grad_delta);
  return cuda::Launch("operator's gradient", BackwardFixed<T>, blocks, kThreads, stream, params, c, aligned);
}

}  // namespace

template <class Params>
Status RegressCuda(const Params& params, int device, void* stream) {
  SSR_RETURN_IF_ERROR(CheckRegression(params));
  if (params.rows == 0) return {};
  constexpr int64_t kMaxBlocks = (int64_t{1} << 31) - 1;
  const int64_t blocks = (params.rows + kThreads - 1) / kThreads;
  if (blocks > kMaxBlocks) {
    return {Code::kInvalidArgument, "rows: expected at most " + std::to_string(kMaxBlocks * kThreads) +
                                        ", got " + std::to_string(params.rows)};
  }
  const cuda::DeviceScope scope(device);
  if (scope.error() != cudaSuccess) return cuda::Failed("no usable device", scope.error());
  return LaunchKernel(params, static_cast<unsigned>(blocks), static_cast<cudaStream_t>(stream));
}

#define SSR_ENTRY(Params) template Status RegressCuda(const Params&, int, void*);
SSR_EACH_REGRESSION(SSR_ENTRY)

}  // namespace ssr
