// The network on a GPU, float32: one thread an output value, one launch a layer and stream.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/engines.h"
#include "core/fold.h"
#include "cpu/network_pack.h"
#include "cuda/network_math.h"

#define SSR_CUDA_RETURN_IF_ERROR(call)                                          \
  do {                                                                          \
    const cudaError_t ssr_error = (call);                                       \
    if (ssr_error != cudaSuccess) return ::ssr::cuda::Failed(#call, ssr_error); \
  } while (false)

namespace ssr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunk = 256;  // images a launch

// The runtime remembers an error until it is asked: forget it here, so that no later call answers for it.
Status Failed(const char* call, cudaError_t error) {
  cudaGetLastError();
  const bool memory = error == cudaErrorMemoryAllocation;
  return {memory ? Code::kUnavailable : Code::kInternal,
          std::string("CUDA: ") + call + ": " + cudaGetErrorString(error)};
}

// blockIdx.y is the image. `to` and `from` are places in an image's workspace.
template <bool kIsX, bool kPooled>
__global__ void ConvolveKernel(Convolution layer, float* work, int64_t image_floats, int64_t from, int64_t to,
                               int block) {
  const int side = OutputSize(block), index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= side * side * layer.width) return;
  float* image = work + blockIdx.y * image_floats;
  const int pixel = index / layer.width;
  image[to + index] = ConvolutionOutput<kIsX, kPooled>(layer, image + from, InputSize(block), pixel / side,
                                                       pixel % side, index % layer.width);
}

template <bool kIsX>
__global__ void ConvolveFirstKernel(Convolution layer, const uint8_t* pictures, float* work,
                                    int64_t image_floats, int64_t to) {
  const int side = OutputSize(0), index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= side * side * layer.width) return;
  const int pixel = index / layer.width;
  work[blockIdx.y * image_floats + to + index] =
      ConvolutionOutput<kIsX, true>(layer, pictures + blockIdx.y * kImageBytes, kImageSize, pixel / side,
                                    pixel % side, index % layer.width);
}

template <bool kIsX>
__global__ void FuseKernel(NetworkWeights network, int k, float* work, int64_t image_floats, int64_t from,
                           int64_t to) {
  const StageWeights& stage = network.stages[k];
  const int fusion = network.width_fusion, index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= stage.side * stage.side * fusion) return;
  float* image = work + blockIdx.y * image_floats;
  const int cell = index / fusion;
  image[to + index] =
      FusionOutput<kIsX>(network, stage, image + from, cell / stage.side, cell % stage.side, index % fusion);
}

__global__ void DotsKernel(NetworkWeights network, int k, float* work, int64_t image_floats, Plan plan) {
  const StageWeights& stage = network.stages[k];
  const int row = blockIdx.x * kThreads + threadIdx.x;
  if (row >= 1 + 2 * stage.bins) return;
  float* image = work + blockIdx.y * image_floats;
  image[plan.dots[k] + row] = DotOutput(network, stage, image + plan.fx[k], image + plan.fs[k], row);
}

// answers, for each image: value, p, eta, delta.
__global__ void HeadKernel(Head head, const float* work, int64_t image_floats, int64_t dots, double* scratch,
                           int64_t head_work, float* answers, int bins, int count) {
  const int image = blockIdx.x * kThreads + threadIdx.x;
  if (image >= count) return;
  float* answer = answers + int64_t{image} * (1 + 2 * bins + head.num_stages);
  FinishHead(head, work + image * image_floats + dots, scratch + image * head_work,
             {answer, answer + 1, answer + 1 + bins, answer + 1 + 2 * bins});
}

// Frees whatever was allocated, on the device that it was allocated on.
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    for (void* p : device_) cudaFree(p);
    for (void* p : pinned_) cudaFreeHost(p);
  }
  template <typename T>
  Status Device(int64_t count, T** out) {
    void* p = nullptr;
    SSR_CUDA_RETURN_IF_ERROR(cudaMalloc(&p, static_cast<size_t>(std::max<int64_t>(count, 1)) * sizeof(T)));
    device_.push_back(p);
    *out = static_cast<T*>(p);
    return {};
  }
  template <typename T>
  Status Pinned(int64_t count, T** out) {
    void* p = nullptr;
    SSR_CUDA_RETURN_IF_ERROR(cudaMallocHost(&p, static_cast<size_t>(count) * sizeof(T)));
    pinned_.push_back(p);
    *out = static_cast<T*>(p);
    return {};
  }
  Status Upload(const float** array, int64_t count) {
    float* copy = nullptr;
    SSR_RETURN_IF_ERROR(Device(count, &copy));
    SSR_CUDA_RETURN_IF_ERROR(
        cudaMemcpy(copy, *array, static_cast<size_t>(count) * sizeof(float), cudaMemcpyHostToDevice));
    *array = copy;
    return {};
  }

 private:
  std::vector<void*> device_, pinned_;
};

// What one call needs; calls at the same time have one each.
struct Workspace {
  Memory memory;
  cudaStream_t stream = nullptr;
  uint8_t *pinned_pictures = nullptr, *pictures = nullptr;
  float *work = nullptr, *answers = nullptr, *pinned_answers = nullptr;
  double* scratch = nullptr;
  ~Workspace() {
    if (stream != nullptr) cudaStreamDestroy(stream);
  }
};

// Makes `device` current for a scope, as CUDA keeps that per thread.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    error_ = cudaGetDevice(&before_);
    if (error_ == cudaSuccess) error_ = cudaSetDevice(device);
  }
  ~DeviceScope() { cudaSetDevice(before_); }
  cudaError_t error() const { return error_; }

 private:
  int before_ = 0;
  cudaError_t error_;
};

unsigned Blocks(int64_t values) { return static_cast<unsigned>((values + kThreads - 1) / kThreads); }

class CudaEngine final : public Engine {
 public:
  CudaEngine(std::shared_ptr<const Model> model, const EngineOptions& options, int device) : device_(device) {
    model_ = std::move(model);
    options_ = options;
  }
  ~CudaEngine() override {
    const DeviceScope scope(device_);
    idle_.clear();
    memory_.reset();
  }

  const char* implementation() const override { return "cuda"; }

  Status Start() {
    const DeviceScope scope(device_);
    SSR_CUDA_RETURN_IF_ERROR(scope.error());
    memory_ = std::make_unique<Memory>();
    SSR_RETURN_IF_ERROR(UploadNetwork());
    SSR_RETURN_IF_ERROR(UploadHead());
    std::unique_ptr<Workspace> first;
    SSR_RETURN_IF_ERROR(Borrow(&first));
    Return(std::move(first));
    return {};
  }

  Status Predict(const uint8_t* const* images, int64_t n, const Outputs& outputs) override {
    SSR_RETURN_IF_ERROR(CheckPredict(*model_, images, n, outputs));
    if (n == 0) return {};
    try {
      return Run(images, n, outputs);
    } catch (const std::exception& error) {
      return {Code::kInternal, std::string("CUDA: ") + error.what()};
    }
  }

 private:
  Status Run(const uint8_t* const* images, int64_t n, const Outputs& outputs) {
    const DeviceScope scope(device_);
    SSR_CUDA_RETURN_IF_ERROR(scope.error());
    std::unique_ptr<Workspace> workspace;
    SSR_RETURN_IF_ERROR(Borrow(&workspace));
    for (int64_t begin = 0; begin < n; begin += kChunk) {
      const int64_t count = std::min(kChunk, n - begin);
      // On an error the workspace is not returned: its stream may be in any state.
      SSR_RETURN_IF_ERROR(Chunk(workspace.get(), images + begin, static_cast<int>(count)));
      for (int64_t i = 0; i < count; ++i) {
        Scatter(workspace->pinned_answers + i * AnswerFloats(), begin + i, outputs);
      }
    }
    Return(std::move(workspace));
    return {};
  }

  int64_t AnswerFloats() const {
    return 1 + 2 * int64_t{model_->architecture.TotalBins()} + head_.num_stages;
  }

  Status UploadNetwork() {
    const cpu::PackedNetwork packed(*model_, Precision::kFp32, /*transformed=*/false);
    network_ = packed.weights();
    for (int block = 0; block < 4; ++block) {
      for (Convolution* layer : {&network_.x[block], &network_.s[block]}) {
        SSR_RETURN_IF_ERROR(memory_->Upload(&layer->weights, int64_t{9} * layer->in_stride * layer->width));
        SSR_RETURN_IF_ERROR(memory_->Upload(&layer->bias, layer->width));
      }
    }
    for (int k = 0; k < network_.num_stages; ++k) {
      StageWeights& stage = network_.stages[k];
      const int64_t fusion = network_.width_fusion, count = stage.side * stage.side * fusion;
      SSR_RETURN_IF_ERROR(memory_->Upload(&stage.fuse_x, network_.width_x * fusion));
      SSR_RETURN_IF_ERROR(memory_->Upload(&stage.fuse_s, network_.width_s * fusion));
      SSR_RETURN_IF_ERROR(memory_->Upload(&stage.fuse_x_bias, fusion));
      SSR_RETURN_IF_ERROR(memory_->Upload(&stage.fuse_s_bias, fusion));
      SSR_RETURN_IF_ERROR(memory_->Upload(&stage.delta, count));
      SSR_RETURN_IF_ERROR(memory_->Upload(&stage.bins_x, stage.bins * count));
      SSR_RETURN_IF_ERROR(memory_->Upload(&stage.bins_s, stage.bins * count));
    }
    plan_ = MakePlan(network_);
    return {};
  }

  Status UploadHead() {
    head_ = MakeHead(*model_);
    for (int k = 0; k < head_.num_stages; ++k) {
      HeadStage& stage = head_.stages[k];
      const int64_t s = stage.bins;
      for (const auto& [array, count] : {std::pair<const float**, int64_t>{&stage.delta_bias, 1},
                                         {&stage.bins_x_bias, s},
                                         {&stage.bins_s_bias, s},
                                         {&stage.mix, 2 * s * s},
                                         {&stage.mix_bias, 2 * s},
                                         {&stage.p, 2 * s * s},
                                         {&stage.p_bias, s},
                                         {&stage.eta, 2 * s * s},
                                         {&stage.eta_bias, s}}) {
        SSR_RETURN_IF_ERROR(memory_->Upload(array, count));
      }
    }
    return {};
  }

  Status Borrow(std::unique_ptr<Workspace>* out) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        *out = std::move(idle_.back());
        idle_.pop_back();
        return {};
      }
    }
    auto made = std::make_unique<Workspace>();
    SSR_CUDA_RETURN_IF_ERROR(cudaStreamCreateWithFlags(&made->stream, cudaStreamNonBlocking));
    SSR_RETURN_IF_ERROR(made->memory.Pinned(kChunk * kImageBytes, &made->pinned_pictures));
    SSR_RETURN_IF_ERROR(made->memory.Device(kChunk * kImageBytes, &made->pictures));
    SSR_RETURN_IF_ERROR(made->memory.Device(kChunk * plan_.floats, &made->work));
    SSR_RETURN_IF_ERROR(made->memory.Device(kChunk * HeadWork(head_), &made->scratch));
    SSR_RETURN_IF_ERROR(made->memory.Device(kChunk * AnswerFloats(), &made->answers));
    SSR_RETURN_IF_ERROR(made->memory.Pinned(kChunk * AnswerFloats(), &made->pinned_answers));
    *out = std::move(made);
    return {};
  }

  void Return(std::unique_ptr<Workspace> workspace) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(workspace));
  }

  // Answers of at most kChunk images into pinned_answers; returns when they are there.
  Status Chunk(Workspace* w, const uint8_t* const* images, int n) {
    for (int64_t i = 0; i < n; ++i) std::memcpy(w->pinned_pictures + i * kImageBytes, images[i], kImageBytes);
    SSR_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(w->pictures, w->pinned_pictures, n * size_t{kImageBytes},
                                             cudaMemcpyHostToDevice, w->stream));
    Launch(w, n);
    SSR_CUDA_RETURN_IF_ERROR(cudaGetLastError());
    SSR_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(w->pinned_answers, w->answers,
                                             static_cast<size_t>(n * AnswerFloats()) * sizeof(float),
                                             cudaMemcpyDeviceToHost, w->stream));
    SSR_CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(w->stream));
    return {};
  }

  void Launch(Workspace* w, int n) const {
    const auto grid = [n](int64_t values) { return dim3(Blocks(values), static_cast<unsigned>(n)); };
    const int64_t floats = plan_.floats;
    const auto outputs = [](const Convolution& layer, int block) {
      return int64_t{OutputSize(block)} * OutputSize(block) * layer.width;
    };
    const Convolution *x = network_.x, *s = network_.s;
    ConvolveFirstKernel<true>
        <<<grid(outputs(x[0], 0)), kThreads, 0, w->stream>>>(x[0], w->pictures, w->work, floats, plan_.x[0]);
    ConvolveFirstKernel<false>
        <<<grid(outputs(s[0], 0)), kThreads, 0, w->stream>>>(s[0], w->pictures, w->work, floats, plan_.s[0]);
    for (int b = 1; b < 4; ++b) {
      const auto kernel_x = b < 3 ? ConvolveKernel<true, true> : ConvolveKernel<true, false>;
      const auto kernel_s = b < 3 ? ConvolveKernel<false, true> : ConvolveKernel<false, false>;
      kernel_x<<<grid(outputs(x[b], b)), kThreads, 0, w->stream>>>(x[b], w->work, floats, plan_.x[b - 1],
                                                                   plan_.x[b], b);
      kernel_s<<<grid(outputs(s[b], b)), kThreads, 0, w->stream>>>(s[b], w->work, floats, plan_.s[b - 1],
                                                                   plan_.s[b], b);
    }
    for (int k = 0; k < network_.num_stages; ++k) {
      const StageWeights& stage = network_.stages[k];
      const dim3 features = grid(int64_t{stage.side} * stage.side * network_.width_fusion);
      FuseKernel<true><<<features, kThreads, 0, w->stream>>>(network_, k, w->work, floats,
                                                             plan_.x[stage.level - 1], plan_.fx[k]);
      FuseKernel<false><<<features, kThreads, 0, w->stream>>>(network_, k, w->work, floats,
                                                              plan_.s[stage.level - 1], plan_.fs[k]);
      DotsKernel<<<grid(1 + 2 * stage.bins), kThreads, 0, w->stream>>>(network_, k, w->work, floats, plan_);
    }
    HeadKernel<<<Blocks(n), kThreads, 0, w->stream>>>(head_, w->work, floats, plan_.dots[0], w->scratch,
                                                      HeadWork(head_), w->answers,
                                                      model_->architecture.TotalBins(), n);
  }

  void Scatter(const float* answer, int64_t i, const Outputs& outputs) const {
    const int64_t bins = model_->architecture.TotalBins(), stages = head_.num_stages;
    const auto copy = [i](const float* from, int64_t count, float* to) {
      if (to != nullptr) std::copy(from, from + count, to + i * count);
    };
    copy(answer, 1, outputs.value);
    copy(answer + 1, bins, outputs.p);
    copy(answer + 1 + bins, bins, outputs.eta);
    copy(answer + 1 + 2 * bins, stages, outputs.delta);
    if (outputs.interval != nullptr) FillInterval(*model_, answer[0], outputs.interval + 2 * i);
  }

  const int device_;
  std::unique_ptr<Memory> memory_;
  NetworkWeights network_ = {};  // device pointers
  Head head_ = {};               // device pointers
  Plan plan_ = {};
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;  // guarded by mutex_
};

}  // namespace
}  // namespace ssr::cuda

namespace ssr {

Status CreateCudaEngine(std::shared_ptr<const Model> model, const EngineOptions& options, int device,
                        std::unique_ptr<Engine>* engine) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    return {Code::kUnavailable, "device '" + options.device + "': no usable GPU on this machine (" +
                                    (error != cudaSuccess ? cudaGetErrorString(error) : "none found") +
                                    "), expected cpu"};
  }
  if (device >= count) {
    return {Code::kInvalidArgument, "device '" + options.device + "': this machine has " +
                                        std::to_string(count) + " GPU(s), numbered from 0"};
  }
  auto made = std::make_unique<cuda::CudaEngine>(std::move(model), options, device);
  SSR_RETURN_IF_ERROR(made->Start());
  *engine = std::move(made);
  return {};
}

}  // namespace ssr
