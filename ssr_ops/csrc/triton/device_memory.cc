#include "triton/device_memory.h"

#ifdef SSR_CUDA
#include <cuda_runtime_api.h>
#endif

namespace ssr::triton {

bool EngineRunsOnDevice() {
#ifdef SSR_CUDA
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
#else
  return false;
#endif
}

#ifdef SSR_CUDA
namespace {

Status Failed(cudaError_t error) {
  return {Code::kInternal, std::string("GPU memory cannot be copied: ") + cudaGetErrorString(error)};
}

Status Copy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  const cudaError_t error = cudaMemcpy(to, from, size, kind);
  return error == cudaSuccess ? Status() : Failed(error);
}

}  // namespace

Status CopyToHost(void* to, const void* from, size_t size) {
  return Copy(to, from, size, cudaMemcpyDeviceToHost);
}

Status CopyFromHost(void* to, const void* from, size_t size) {
  SSR_RETURN_IF_ERROR(Copy(to, from, size, cudaMemcpyHostToDevice));
  // From pageable memory the copy returns once it is staged; whoever reads it next may be another process.
  const cudaError_t error = cudaStreamSynchronize(nullptr);
  return error == cudaSuccess ? Status() : Failed(error);
}
#else
Status CopyToHost(void*, const void*, size_t) {
  return {Code::kUnsupported,
          "lies in GPU memory, this backend was built without CUDA: send it in CPU memory"};
}

Status CopyFromHost(void*, const void*, size_t) {
  return {Code::kUnsupported,
          "is wanted in GPU memory, this backend was built without CUDA: ask for it in CPU memory"};
}
#endif

}  // namespace ssr::triton
