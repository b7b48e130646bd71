// What the CUDA files share on the host: errors as a status, the current device, launches. The includer has
// <cuda_runtime.h>: NVIDIA's, or the one that runs kernels on the CPU (tests/cpp/cuda_on_cpu).
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "ssr/status.h"

namespace ssr::cuda {

// The runtime remembers an error until it is asked: forgotten here, so that no later call answers for it.
inline Status Failed(const char* what, cudaError_t error) {
  cudaGetLastError();
  const bool unavailable = error == cudaErrorMemoryAllocation || error == cudaErrorNoDevice ||
                           error == cudaErrorInsufficientDriver || error == cudaErrorInvalidDevice;
  return {unavailable ? Code::kUnavailable : Code::kInternal,
          std::string("CUDA: ") + what + ": " + cudaGetErrorString(error)};
}

#define SSR_CUDA_RETURN_IF_ERROR(call)                                          \
  do {                                                                          \
    const cudaError_t ssr_error = (call);                                       \
    if (ssr_error != cudaSuccess) return ::ssr::cuda::Failed(#call, ssr_error); \
  } while (false)

// Makes `device` current for a scope, as CUDA keeps that per thread.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    error_ = cudaGetDevice(&before_);
    if (error_ != cudaSuccess || before_ == device) return;
    error_ = cudaSetDevice(device);
    changed_ = error_ == cudaSuccess;
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  ~DeviceScope() {
    if (changed_) cudaSetDevice(before_);
  }
  cudaError_t error() const { return error_; }

 private:
  int before_ = 0;
  bool changed_ = false;
  cudaError_t error_;
};

// Starts `kernel` on `stream` and returns; its faults appear when the stream is next waited for.
template <typename... Parameters, typename... Arguments>
Status Launch(const char* name, void (*kernel)(Parameters...), dim3 grid, unsigned threads,
              cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.stream = stream;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
  return error == cudaSuccess ? Status() : Failed(name, error);
}

}  // namespace ssr::cuda
