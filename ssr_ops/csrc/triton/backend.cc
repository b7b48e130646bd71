// The entry points that the server calls.

#include "triton/device_memory.h"
#include "triton/instance.h"

using ssr::triton::Error;
using ssr::triton::Instance;
using ssr::triton::ModelState;

namespace {

Error CheckApiVersion() {
  uint32_t major = 0, minor = 0;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ApiVersion(&major, &minor));
  if (major == TRITONBACKEND_API_VERSION_MAJOR && minor >= TRITONBACKEND_API_VERSION_MINOR) return nullptr;
  return ssr::triton::MakeError(
      TRITONSERVER_ERROR_UNSUPPORTED,
      "this server's backend interface is " + std::to_string(major) + "." + std::to_string(minor) +
          ", the ssr backend needs " + std::to_string(TRITONBACKEND_API_VERSION_MAJOR) + "." +
          std::to_string(TRITONBACKEND_API_VERSION_MINOR) + " or a newer minor version");
}

// What an entry point hands to the server of `body`'s error.
template <typename Body>
TRITONSERVER_Error* Answer(Body&& body) {
  return ssr::triton::Guard(body).release();
}

}  // namespace

#define SSR_ENTRY extern "C" __attribute__((visibility("default"))) TRITONSERVER_Error*

SSR_ENTRY TRITONBACKEND_Initialize(TRITONBACKEND_Backend* backend) {
  return Answer([&]() -> Error {
    if (Error error = CheckApiVersion()) return error;
    return Error(TRITONBACKEND_BackendSetExecutionPolicy(backend, TRITONBACKEND_EXECUTION_BLOCKING));
  });
}

SSR_ENTRY TRITONBACKEND_Finalize(TRITONBACKEND_Backend*) { return nullptr; }

// Which kind an instance group without one gets.
SSR_ENTRY TRITONBACKEND_GetBackendAttribute(TRITONBACKEND_Backend*,
                                            TRITONBACKEND_BackendAttribute* attribute) {
  return Answer([&]() -> Error {
    if (ssr::triton::EngineRunsOnDevice()) {
      SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(
          attribute, TRITONSERVER_INSTANCEGROUPKIND_GPU, 0, nullptr, 0));
    }
    return Error(TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(
        attribute, TRITONSERVER_INSTANCEGROUPKIND_CPU, 0, nullptr, 0));
  });
}

SSR_ENTRY TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  return Answer([&]() -> Error {
    std::unique_ptr<ModelState> state;
    if (Error error = LoadModel(model, &state)) return error;
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelSetState(model, state.get()));
    state.release();
    return nullptr;
  });
}

SSR_ENTRY TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  void* state = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_ModelState(model, &state)) return error;
  delete static_cast<ModelState*>(state);
  return nullptr;
}

SSR_ENTRY TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* handle) {
  return Answer([&]() -> Error {
    std::unique_ptr<Instance> instance;
    if (Error error = Instance::Create(handle, &instance)) return error;
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelInstanceSetState(handle, instance.get()));
    instance.release();
    return nullptr;
  });
}

SSR_ENTRY TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* handle) {
  void* instance = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_ModelInstanceState(handle, &instance)) return error;
  delete static_cast<Instance*>(instance);
  return nullptr;
}

SSR_ENTRY TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* handle,
                                             TRITONBACKEND_Request** requests, const uint32_t count) {
  return Answer([&]() -> Error {
    void* instance = nullptr;
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelInstanceState(handle, &instance));
    return static_cast<Instance*>(instance)->Execute(requests, count);
  });
}
