// The network on a GPU, float32, in six launches: the four blocks of both streams, the fusion blocks of all
// stages, and what is left of an image. A thread computes four channels of one pixel (cuda/network_math.h).
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/engines.h"
#include "core/fold.h"
#include "core/idle.h"
#include "core/pack.h"
#include "cuda/network_math.h"
#include "cuda/runtime.h"

namespace ssr::cuda {
namespace {

constexpr int kThreads = 128;                // a block of a layer
constexpr int kWarp = 32, kFinishWarps = 8;  // a block that finishes an image
constexpr int64_t kChunk = 256;              // images a launch

// blockIdx: x: the threads of an image, y: the image, z: the stream, X then S. to: the block, 0..3.
template <bool kIsX, bool kPooled, typename In>
__device__ void ConvolveStream(const Convolution& layer, const In* in, int to, float* out) {
  const int side = MapSize(to), index = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (index < ConvolutionThreads(layer, side)) {
    Convolve<kIsX, kPooled>(layer, in, (to == 0 ? kImageSize : MapSize(to - 1)), side, index, out);
  }
}

__global__ void __launch_bounds__(kThreads)
    ConvolvePictures(const __grid_constant__ Convolution x, const __grid_constant__ Convolution s,
                     const uint8_t* pictures, float* work, const __grid_constant__ Plan plan) {
  const uint8_t* picture = pictures + int64_t{blockIdx.y} * kImageBytes;
  float* image = work + blockIdx.y * plan.floats;
  if (blockIdx.z == 0) {
    ConvolveStream<true, true>(x, picture, 0, image + plan.x[0]);
  } else {
    ConvolveStream<false, true>(s, picture, 0, image + plan.s[0]);
  }
}

template <bool kPooled>
__global__ void __launch_bounds__(kThreads)
    ConvolveMaps(const __grid_constant__ Convolution x, const __grid_constant__ Convolution s, int to,
                 float* work, const __grid_constant__ Plan plan) {
  float* image = work + blockIdx.y * plan.floats;
  if (blockIdx.z == 0) {
    ConvolveStream<true, kPooled>(x, image + plan.x[to - 1], to, image + plan.x[to]);
  } else {
    ConvolveStream<false, kPooled>(s, image + plan.s[to - 1], to, image + plan.s[to]);
  }
}

// blockIdx.z: twice the stage, plus one for S.
__global__ void __launch_bounds__(kThreads) FuseStages(const __grid_constant__ NetworkWeights network,
                                                       float* work, const __grid_constant__ Plan plan) {
  const int k = static_cast<int>(blockIdx.z / 2),
            index = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  const StageWeights& stage = network.stages[k];
  if (index >= FusionThreads(network, stage)) return;
  float* image = work + blockIdx.y * plan.floats;
  const int level = stage.level - 1;
  if (blockIdx.z % 2 == 0) {
    Fuse<true>(network, stage, image + plan.x[level], index, image + plan.fused_x[k]);
  } else {
    Fuse<false>(network, stage, image + plan.s[level], index, image + plan.fused_s[k]);
  }
}

// One block an image: pools, dense layers, head. answers, for each image: value, p, eta, delta.
__global__ void __launch_bounds__(kFinishWarps* kWarp)
    FinishImages(const __grid_constant__ NetworkWeights network, const __grid_constant__ Head head,
                 float* work, const __grid_constant__ Plan plan, double* scratch, int64_t head_work,
                 float* answers, int bins) {
  float* image = work + blockIdx.x * plan.floats;
  for (int k = 0; k < network.num_stages; ++k) {
    const StageWeights& stage = network.stages[k];
    for (int i = static_cast<int>(threadIdx.x); i < Features(network, stage); i += kFinishWarps * kWarp) {
      image[plan.fx[k] + i] = PooledFeature<true>(network, stage, image + plan.fused_x[k], i);
      image[plan.fs[k] + i] = PooledFeature<false>(network, stage, image + plan.fused_s[k], i);
    }
  }
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int k = 0; k < network.num_stages; ++k) {
    const StageWeights& stage = network.stages[k];
    for (int row = warp; row < 1 + 2 * stage.bins; row += kFinishWarps) {
      float sum =
          DotShare(stage, Features(network, stage), image + plan.fx[k], image + plan.fs[k], row, lane, kWarp);
      for (int step = kWarp / 2; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
      if (lane == 0) image[plan.dots[k] + row] = sum;
    }
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  float* answer = answers + int64_t{blockIdx.x} * (1 + 2 * bins + head.num_stages);
  FinishHead(head, image + plan.dots[0], scratch + blockIdx.x * head_work,
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

unsigned Blocks(int threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

class CudaEngine final : public Engine {
 public:
  CudaEngine(std::shared_ptr<const Model> model, const EngineOptions& options, int device) : device_(device) {
    model_ = std::move(model);
    options_ = options;
  }
  ~CudaEngine() override {
    const DeviceScope scope(device_);
    idle_.Clear();
    memory_.reset();
  }

  const char* implementation() const override { return "cuda"; }

  Status Start() {
    const DeviceScope scope(device_);
    SSR_CUDA_RETURN_IF_ERROR(scope.error());
    memory_ = std::make_unique<Memory>();
    SSR_RETURN_IF_ERROR(UploadNetwork());
    SSR_RETURN_IF_ERROR(UploadHead());
    // A copy from pageable memory may still be on its way, and the workspaces' streams do not wait for it.
    SSR_CUDA_RETURN_IF_ERROR(cudaDeviceSynchronize());
    std::unique_ptr<Workspace> first;
    SSR_RETURN_IF_ERROR(Borrow(&first));
    idle_.Give(std::move(first));
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
    idle_.Give(std::move(workspace));
    return {};
  }

  int64_t AnswerFloats() const {
    return 1 + 2 * int64_t{model_->architecture.TotalBins()} + head_.num_stages;
  }

  Status UploadNetwork() {
    const PackedNetwork packed(*model_, Precision::kFp32, /*transformed=*/false);
    network_ = packed.weights();
    std::vector<std::pair<const float**, int64_t>> arrays;
    for (int block = 0; block < kBlocks; ++block) {
      for (Convolution* layer : {&network_.x[block], &network_.s[block]}) {
        arrays.push_back({&layer->weights, int64_t{9} * layer->in_stride * layer->width});
        arrays.push_back({&layer->bias, layer->width});
      }
    }
    for (int k = 0; k < network_.num_stages; ++k) {
      StageWeights& stage = network_.stages[k];
      const int64_t fusion = network_.width_fusion, count = stage.side * stage.side * fusion;
      arrays.insert(arrays.end(), {{&stage.fuse_x, network_.width_x * fusion},
                                   {&stage.fuse_s, network_.width_s * fusion},
                                   {&stage.fuse_x_bias, fusion},
                                   {&stage.fuse_s_bias, fusion},
                                   {&stage.delta, count},
                                   {&stage.bins_x, stage.bins * count},
                                   {&stage.bins_s, stage.bins * count}});
    }
    for (const auto& [array, count] : arrays) SSR_RETURN_IF_ERROR(memory_->Upload(array, count));
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
    if ((*out = idle_.Take()) != nullptr) return {};
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

  // Answers of at most kChunk images into pinned_answers; returns when they are there.
  Status Chunk(Workspace* w, const uint8_t* const* images, int n) {
    for (int64_t i = 0; i < n; ++i) std::memcpy(w->pinned_pictures + i * kImageBytes, images[i], kImageBytes);
    SSR_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(w->pictures, w->pinned_pictures, n * size_t{kImageBytes},
                                             cudaMemcpyHostToDevice, w->stream));
    SSR_RETURN_IF_ERROR(Compute(w, static_cast<unsigned>(n)));
    SSR_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(w->pinned_answers, w->answers,
                                             static_cast<size_t>(n * AnswerFloats()) * sizeof(float),
                                             cudaMemcpyDeviceToHost, w->stream));
    SSR_CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(w->stream));
    return {};
  }

  Status Compute(Workspace* w, unsigned n) const {
    const auto grid = [this, n](int block) {
      const int side = MapSize(block);
      return dim3(Blocks(std::max(ConvolutionThreads(network_.x[block], side),
                                  ConvolutionThreads(network_.s[block], side))),
                  n, 2);
    };
    const Convolution *x = network_.x, *s = network_.s;
    SSR_RETURN_IF_ERROR(Launch("block 0", ConvolvePictures, grid(0), kThreads, w->stream, x[0], s[0],
                               w->pictures, w->work, plan_));
    for (int block = 1; block < 4; ++block) {
      const auto kernel = block < 3 ? ConvolveMaps<true> : ConvolveMaps<false>;
      SSR_RETURN_IF_ERROR(Launch("a block", kernel, grid(block), kThreads, w->stream, x[block], s[block],
                                 block, w->work, plan_));
    }
    int most = 0;
    for (int k = 0; k < network_.num_stages; ++k) {
      most = std::max(most, FusionThreads(network_, network_.stages[k]));
    }
    const dim3 fusion(Blocks(most), n, 2 * static_cast<unsigned>(network_.num_stages));
    SSR_RETURN_IF_ERROR(
        Launch("fusion blocks", FuseStages, fusion, kThreads, w->stream, network_, w->work, plan_));
    return Launch("dense layers and head", FinishImages, n, kFinishWarps * kWarp, w->stream, network_, head_,
                  w->work, plan_, w->scratch, HeadWork(head_), w->answers, model_->architecture.TotalBins());
  }

  void Scatter(const float* answer, int64_t i, const Outputs& outputs) const {
    const int64_t bins = model_->architecture.TotalBins(), stages = head_.num_stages;
    const auto copy = [i](const float* from, int64_t count, float* to) {
      if (to != nullptr) std::copy(from, from + count, to + i * count);
    };
    const float value = Recalibrated(*model_, answer[0]);
    copy(&value, 1, outputs.value);
    copy(answer + 1, bins, outputs.p);
    copy(answer + 1 + bins, bins, outputs.eta);
    copy(answer + 1 + 2 * bins, stages, outputs.delta);
    if (outputs.interval != nullptr) FillInterval(*model_, value, outputs.interval + 2 * i);
  }

  const int device_;
  std::unique_ptr<Memory> memory_;
  NetworkWeights network_ = {};  // device pointers
  Head head_ = {};               // device pointers
  Plan plan_ = {};
  Idle<Workspace> idle_;
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
