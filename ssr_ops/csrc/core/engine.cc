#include "ssr/engine.h"

#include <algorithm>
#include <exception>
#include <new>

#include "core/engines.h"
#include "core/fold.h"
#include "ssr/precision.h"

namespace ssr {
namespace {

// "cpu": -1; "cuda" and "cuda:N": N.
Status ParseDevice(const std::string& device, int* index) {
  *index = -1;
  if (device == "cpu") return {};
  if (device == "cuda") {
    *index = 0;
    return {};
  }
  const std::string number = device.rfind("cuda:", 0) == 0 ? device.substr(5) : "";
  if (number.empty() || number.size() > 4 || number.find_first_not_of("0123456789") != std::string::npos) {
    return {Code::kInvalidArgument, "device '" + device + "' is unknown, expected cpu, cuda or cuda:N"};
  }
  *index = std::stoi(number);
  return {};
}

Status CheckPrecision(const Model& model, Precision precision, int device) {
  if (precision == Precision::kFp32) return {};
  const std::string name = PrecisionName(precision);
  if (device >= 0) return {Code::kUnsupported, "precision " + name + " runs on the cpu; the GPU has fp32"};
  if (model.quantization) return {};
  return {Code::kUnsupported, "precision " + name + " needs a quantized bundle, and '" + model.name +
                                  "' is not: 'ssr-train quantize' measures what it takes"};
}

Status CreateUnguarded(std::shared_ptr<const Model> model, const EngineOptions& options,
                       std::unique_ptr<Engine>* engine) {
  if (model == nullptr) return {Code::kInvalidArgument, "an engine needs a model, got none"};
  if (options.threads < 1 || options.threads > kMaxThreads) {
    return {Code::kInvalidArgument, "threads must lie in 1.." + std::to_string(kMaxThreads) + ", got " +
                                        std::to_string(options.threads)};
  }
  int device = -1;
  SSR_RETURN_IF_ERROR(ParseDevice(options.device, &device));
  Precision precision = Precision::kFp32;
  if (options.precision == kAutoPrecision) {
    PrecisionChoice choice;
    SSR_RETURN_IF_ERROR(ChoosePrecision(model, options, &choice));
    EngineOptions chosen = options;
    chosen.precision = PrecisionName(choice.precision);
    return CreateUnguarded(std::move(model), chosen, engine);
  }
  const Status known = ParsePrecision(options.precision, &precision);
  if (!known.ok()) return {known.code(), known.message() + ", or " + kAutoPrecision};
  SSR_RETURN_IF_ERROR(CheckPrecision(*model, precision, device));
  SSR_RETURN_IF_ERROR(CheckRange(*model));
  if (device < 0) return CreateCpuEngine(std::move(model), options, precision, engine);
  return CreateCudaEngine(std::move(model), options, device, engine);
}

}  // namespace

Status Engine::Create(std::shared_ptr<const Model> model, const EngineOptions& options,
                      std::unique_ptr<Engine>* engine) {
  try {
    return CreateUnguarded(std::move(model), options, engine);
  } catch (const std::bad_alloc&) {
    return {Code::kInternal, "the engine could not start: too little memory"};
  } catch (const std::exception& error) {
    return {Code::kInternal, std::string("the engine could not start: ") + error.what()};
  }
}

Status CheckPredict(const Model& model, const uint8_t* const* images, int64_t n, const Outputs& outputs) {
  if (n < 0) return {Code::kInvalidArgument, "number of images " + std::to_string(n) + " is negative"};
  if (n > 0 && images == nullptr)
    return {Code::kInvalidArgument, "images: null, expected one pointer an image"};
  for (int64_t i = 0; i < n; ++i) {
    if (images[i] == nullptr) return {Code::kInvalidArgument, "image " + std::to_string(i) + " is null"};
  }
  if (outputs.interval != nullptr && model.interval.half_widths.empty()) {
    return {Code::kInvalidArgument,
            "the interval of '" + model.output_name + "' is asked for, but the bundle is not calibrated"};
  }
  return {};
}

float Recalibrated(const Model& model, float value) {
  const auto& [before, after] = model.recalibration;
  if (before.empty()) return value;
  // The piece that ends behind the value; the last one for the range's end, and for a NaN.
  const auto above = std::upper_bound(before.begin() + 1, before.end() - 1, double{value});
  const auto i = static_cast<size_t>(above - before.begin());
  const double slope = (after[i] - after[i - 1]) / (before[i] - before[i - 1]);
  return static_cast<float>(after[i - 1] + slope * (value - before[i - 1]));
}

void FillInterval(const Model& model, float value, float* interval) {
  const std::vector<double>& edges = model.interval.edges;
  const auto band = std::upper_bound(edges.begin(), edges.end(), double{value}) - edges.begin();
  const double half = model.interval.half_widths[static_cast<size_t>(band)];
  const double low = model.clip_low, high = model.clip_high;
  interval[0] = static_cast<float>(std::min(std::max(value - half, low), high));
  interval[1] = static_cast<float>(std::min(std::max(value + half, low), high));
}

#ifndef SSR_CUDA
Status CreateCudaEngine(std::shared_ptr<const Model>, const EngineOptions& options, int,
                        std::unique_ptr<Engine>*) {
  return {Code::kUnsupported,
          "device '" + options.device + "' needs a build with CUDA (SSR_CUDA=ON); this one runs on cpu"};
}
#endif

}  // namespace ssr
