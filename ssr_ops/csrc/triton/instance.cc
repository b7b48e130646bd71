#include "triton/instance.h"

#include <string>
#include <utility>

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
  std::unique_ptr<Detector> detector;
  if (state.detector != nullptr) {
    DetectorOptions of_detector;
    of_detector.threads = state.config.threads;
    const Status status = Detector::Create(state.detector, of_detector, &detector);
    if (Error error = MakeError(status, state.Where())) return error;
  }
  Log(TRITONSERVER_LOG_INFO,
      state.Where() + engine->implementation() + ", " + options.precision + " on " + options.device +
          ", threads " + std::to_string(options.threads) + ", weights " + state.model->weights_sha256 +
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
