// The inference engine: uint8 crops in, answers out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ssr/implementation.h"
#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr {

constexpr int kMaxThreads = 256;

struct EngineOptions {
  std::string device = "cpu";  // "cpu", "cuda" or "cuda:N"
  // "fp32"; "bf16" or "int8" on the cpu, from a quantized bundle; "auto": see ssr/precision.h. An engine's
  // own options hold what was chosen.
  std::string precision = "fp32";
  int threads = 1;             // worker threads of one Predict call, 1..kMaxThreads
  std::string implementation;  // empty: SSR_FORCE_IMPLEMENTATION, else the best
};

// Where to write what; null pointers are skipped. All float32, contiguous, host memory.
struct Outputs {
  float* value = nullptr;     // (n): clipped to the contract's range
  float* interval = nullptr;  // (n, 2): only if the model is calibrated
  float* p = nullptr;         // (n, sum of s_k)
  float* eta = nullptr;       // (n, sum of s_k)
  float* delta = nullptr;     // (n, K)
};

class Engine {
 public:
  static Status Create(std::shared_ptr<const Model> model, const EngineOptions& options,
                       std::unique_ptr<Engine>* engine);
  virtual ~Engine() = default;

  // images[i]: kImageBytes contiguous bytes in the contract's colour order, any alignment, host memory.
  // Thread-safe; an image's bits depend on nothing but the image. n == 0 is fine.
  virtual Status Predict(const uint8_t* const* images, int64_t n, const Outputs& outputs) = 0;

  const Model& model() const { return *model_; }
  const EngineOptions& options() const { return options_; }
  // What really runs: "amx", "avx512vnni", "avx512", "avx2", "portable", ... or "cuda".
  virtual const char* implementation() const = 0;

 protected:
  std::shared_ptr<const Model> model_;
  EngineOptions options_;
};

}  // namespace ssr
