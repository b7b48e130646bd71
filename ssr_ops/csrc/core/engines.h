// Internal constructors of the engines behind Engine::Create.
#pragma once

#include <memory>

#include "ssr/engine.h"

namespace ssr {

Status CreateCpuEngine(std::shared_ptr<const Model> model, const EngineOptions& options, Precision precision,
                       std::unique_ptr<Engine>* engine);

// kUnsupported in a build without CUDA; `device` is N of "cuda:N".
Status CreateCudaEngine(std::shared_ptr<const Model> model, const EngineOptions& options, int device,
                        std::unique_ptr<Engine>* engine);

// Faults of a Predict call that every engine refuses alike.
Status CheckPredict(const Model& model, const uint8_t* const* images, int64_t n, const Outputs& outputs);

// What is served for one clipped value; see ssr_ops.reference.served.
float Recalibrated(const Model& model, float value);

// The calibrated interval (low, high) of one served value; see ssr_ops.reference.interval.
void FillInterval(const Model& model, float value, float* interval);

}  // namespace ssr
