// Enough of the CUDA runtime to run this project's .cu files on the CPU, so that sanitizers see every access
// and every race within a block: threads of a block are threads, blocks run one after another, shared memory
// is static. Tells nothing about a GPU's own rules (alignment, occupancy, memory order between blocks).
#pragma once

#include <pthread.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(threads)

enum cudaError_t {
  cudaSuccess,
  cudaErrorMemoryAllocation,
  cudaErrorNoDevice,
  cudaErrorInsufficientDriver,
  cudaErrorInvalidDevice,
  cudaErrorUnknown
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
using cudaStream_t = void*;
constexpr unsigned cudaStreamNonBlocking = 1;

struct dim3 {
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}  // NOLINT: as CUDA's
  unsigned x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace cuda_on_cpu {

constexpr unsigned kWarp = 32;

class Barrier {
 public:
  explicit Barrier(unsigned threads) { pthread_barrier_init(&barrier_, nullptr, threads); }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;
  ~Barrier() { pthread_barrier_destroy(&barrier_); }
  void Wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

struct Warp {
  Barrier barrier{kWarp};
  float lanes[kWarp];
};

// kMost threads that stay, as starting one takes a sanitizer longer than most kernels.
class Threads {
 public:
  static constexpr unsigned kMost = 256;

  static Threads& Get() {
    static Threads threads;
    return threads;
  }
  // work(thread) on each of them; returns when all are done.
  void Run(std::function<void(unsigned)> work) {
    work_ = std::move(work);
    begin_.Wait();
    end_.Wait();
  }
  ~Threads() {
    Run(nullptr);
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  Threads() {
    for (unsigned thread = 0; thread < kMost; ++thread) {
      threads_.emplace_back([this, thread] {
        for (bool more = true; more;) {
          begin_.Wait();
          more = static_cast<bool>(work_);
          if (more) work_(thread);
          end_.Wait();
        }
      });
    }
  }
  std::function<void(unsigned)> work_;
  Barrier begin_{kMost + 1}, end_{kMost + 1};
  std::vector<std::thread> threads_;
};

inline thread_local dim3 block_index, thread_index;
inline thread_local Barrier* block_barrier;
inline thread_local Warp* warp;

// The call of this number fails, counted from 0; reset both before use. Negative: none does.
inline int64_t calls = 0, failing_call = -1;

inline cudaError_t Answer() { return calls++ == failing_call ? cudaErrorUnknown : cudaSuccess; }

}  // namespace cuda_on_cpu

#define blockIdx (::cuda_on_cpu::block_index)
#define threadIdx (::cuda_on_cpu::thread_index)

inline void __syncthreads() { cuda_on_cpu::block_barrier->Wait(); }

inline float __shfl_down_sync(unsigned, float value, unsigned step) {
  const unsigned lane = threadIdx.x % cuda_on_cpu::kWarp;
  cuda_on_cpu::Warp& warp = *cuda_on_cpu::warp;
  warp.lanes[lane] = value;
  warp.barrier.Wait();
  const float other = lane + step < cuda_on_cpu::kWarp ? warp.lanes[lane + step] : value;
  warp.barrier.Wait();
  return other;
}

template <typename T>
T __ldcs(const T* from) {
  return *from;
}
using std::min;

// A thread that leaves a kernel where others still meet leaves them waiting for ever: seen as a timeout.
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3 grid = config->gridDim;
  const unsigned threads = config->blockDim.x;
  const bool possible = grid.x >= 1 && grid.y >= 1 && grid.y <= 65535 && grid.z >= 1 && grid.z <= 65535 &&
                        threads >= 1 && threads <= cuda_on_cpu::Threads::kMost &&
                        threads % cuda_on_cpu::kWarp == 0;
  if (!possible) return cudaErrorUnknown;
  if (const cudaError_t error = cuda_on_cpu::Answer(); error != cudaSuccess) return error;
  const std::tuple<Parameters...> values(arguments...);
  cuda_on_cpu::Barrier between_blocks(threads), block(threads);
  std::vector<cuda_on_cpu::Warp> warps(threads / cuda_on_cpu::kWarp);
  cuda_on_cpu::Threads::Get().Run([&](unsigned thread) {
    if (thread >= threads) return;
    cuda_on_cpu::thread_index = dim3(thread, 0, 0);
    cuda_on_cpu::block_barrier = &block;
    cuda_on_cpu::warp = &warps[thread / cuda_on_cpu::kWarp];
    for (unsigned z = 0; z < grid.z; ++z) {
      for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) {
          cuda_on_cpu::block_index = dim3(x, y, z);
          std::apply(kernel, values);
          between_blocks.Wait();
        }
      }
    }
  });
  return cudaSuccess;
}

inline const char* cudaGetErrorString(cudaError_t) { return "an error made for the test"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cuda_on_cpu::Answer(); }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cuda_on_cpu::Answer(); }
inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
inline cudaError_t cudaDeviceSynchronize() { return cuda_on_cpu::Answer(); }

// Memory nobody wrote holds NaN.
inline cudaError_t cudaMalloc(void** memory, size_t size) {
  if (const cudaError_t error = cuda_on_cpu::Answer(); error != cudaSuccess) return error;
  *memory = std::malloc(size);
  std::memset(*memory, 0xff, size);
  return cudaSuccess;
}
inline cudaError_t cudaMallocHost(void** memory, size_t size) { return cudaMalloc(memory, size); }
inline cudaError_t cudaFree(void* memory) { return std::free(memory), cudaSuccess; }
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
  if (const cudaError_t error = cuda_on_cpu::Answer(); error != cudaSuccess) return error;
  return std::memcpy(to, from, size), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind,
                                   cudaStream_t) {
  return cudaMemcpy(to, from, size, kind);
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const cudaError_t error = cuda_on_cpu::Answer(); error != cudaSuccess) return error;
  *stream = std::malloc(1);
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) { return std::free(stream), cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cuda_on_cpu::Answer(); }
