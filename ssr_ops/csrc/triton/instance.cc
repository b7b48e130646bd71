#include "triton/instance.h"

#include <string>
#include <utility>

#include "ssr/precision.h"
#include "triton/crops_instance.h"
#include "triton/frame_instance.h"

namespace ssr::triton {
namespace {

Error Device(TRITONBACKEND_ModelInstance* handle, std::string* device) {
  TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_AUTO;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelInstanceKind(handle, &kind));
  if (kind == TRITONSERVER_INSTANCEGROUPKIND_CPU) {
    *device = "cpu";
    return nullptr;
  }
  if (kind == TRITONSERVER_INSTANCEGROUPKIND_GPU) {
    int32_t id = 0;
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelInstanceDeviceId(handle, &id));
    *device = "cuda:" + std::to_string(id);
    return nullptr;
  }
  return MakeError(TRITONSERVER_ERROR_UNSUPPORTED, "instance_group: expected KIND_CPU or KIND_GPU");
}

// Says why precision auto is what it is here, and when the one asked for by name is slower than fp32.
Error LogPrecision(const ModelState& state, const EngineOptions& options) {
  if (options.precision == PrecisionName(Precision::kFp32)) return nullptr;
  PrecisionChoice choice;
  if (Error error = MakeError(ChoosePrecision(state.model, options, &choice), state.Where())) return error;
  if (options.precision == kAutoPrecision) {
    const std::string kept = choice.kept_in.empty() ? "" : " (kept in " + choice.kept_in + ")";
    Log(TRITONSERVER_LOG_INFO,
        state.Where() + "precision auto is " + PrecisionName(choice.precision) + ": " + choice.reason + kept);
    return nullptr;
  }
  const std::string slower = SlowerThanFp32(choice, options.precision);
  if (!slower.empty()) Log(TRITONSERVER_LOG_WARN, state.Where() + slower);
  return nullptr;
}

}  // namespace

Error Instance::Create(TRITONBACKEND_ModelInstance* handle, std::unique_ptr<Instance>* instance) {
  TRITONBACKEND_Model* model = nullptr;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelInstanceModel(handle, &model));
  void* opaque = nullptr;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelState(model, &opaque));
  const ModelState& state = *static_cast<const ModelState*>(opaque);

  EngineOptions options;
  options.precision = state.config.precision;
  options.threads = state.config.threads;
  if (Error error = Device(handle, &options.device)) return error;
  std::unique_ptr<Engine> engine;
  if (Error error = MakeError(Engine::Create(state.model, options, &engine), state.Where())) return error;
  if (Error error = LogPrecision(state, options)) return error;
  std::unique_ptr<Detector> detector;
  if (state.detector != nullptr) {
    DetectorOptions of_detector;
    of_detector.threads = state.config.threads;
    const Status status = Detector::Create(state.detector, of_detector, &detector);
    if (Error error = MakeError(status, state.Where())) return error;
  }
  Log(TRITONSERVER_LOG_INFO,
      state.Where() + engine->implementation() + ", " + engine->options().precision + " on " +
          options.device + ", threads " + std::to_string(options.threads) + ", weights " +
          state.model->weights_sha256 +
          (detector == nullptr
               ? std::string()
               : std::string(", faces found by ") + state.detector->name + " (" + detector->implementation() +
                     "), weights " + state.detector->weights_sha256));
  if (state.config.mode.batched) {
    *instance = std::make_unique<CropsInstance>(handle, state, std::move(engine));
  } else {
    *instance = std::make_unique<FrameInstance>(handle, state, std::move(engine), std::move(detector));
  }
  return nullptr;
}

}  // namespace ssr::triton
