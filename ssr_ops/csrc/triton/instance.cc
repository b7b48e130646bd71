#include "triton/instance.h"

#include <chrono>
#include <string>
#include <utility>

namespace ssr::triton {
namespace {

uint64_t Now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

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

Instance::Instance(TRITONBACKEND_ModelInstance* handle, const ModelState& state,
                   std::unique_ptr<Engine> engine)
    : handle_(handle),
      state_(state),
      engine_(std::move(engine)),
      computes_(state.config.precision + " " + engine_->implementation()),
      scratch_(state.config.mode.outputs.size()) {}

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
  Log(TRITONSERVER_LOG_INFO, state.Where() + engine->implementation() + ", " + options.precision + " on " +
                                 options.device + ", threads " + std::to_string(options.threads) +
                                 ", weights " + state.model->weights_sha256);
  instance->reset(new Instance(handle, state, std::move(engine)));
  return nullptr;
}

Error Instance::Execute(TRITONBACKEND_Request** requests, uint32_t count) {
  Times times;
  times.start = Now();
  batch_.clear();
  batch_.resize(count);
  gatherer_.Clear();
  for (uint32_t i = 0; i < count; ++i) {
    Request& request = batch_[i];
    request.handle = requests[i];
    request.error = Error(TRITONBACKEND_ResponseNew(&request.response, request.handle));
    if (request.error) continue;
    request.error = Guard([&] { return ReadRequest(state_, &buffers_, &gatherer_, &request); });
  }

  times.compute_start = Now();
  const Error failed = Guard([&] { return Compute(); });
  times.compute_end = Now();

  for (Request& request : batch_) {
    if (request.error) continue;
    if (failed) {
      const char* message = TRITONSERVER_ErrorMessage(failed.get());
      request.error.reset(TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, message));
    } else {
      request.error = Guard([&] { return FillResponse(state_, computes_, results_, request); });
    }
  }
  times.end = Now();
  Finish(times);
  return nullptr;
}

// All outputs that any request wants of all images, into scratch_.
Error Instance::Compute() {
  const std::vector<const uint8_t*>& images = gatherer_.images();
  if (images.empty()) return nullptr;
  uint64_t requested = 0;
  for (const Request& request : batch_) {
    if (!request.error) requested |= request.requested;
  }
  results_ = Outputs();
  const std::vector<OutputSpec>& outputs = state_.config.mode.outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if ((requested >> i & 1) == 0) continue;
    const size_t size = images.size() * static_cast<size_t>(outputs[i].width);
    if (scratch_[i].size() < size) scratch_[i].resize(size);
    results_.*outputs[i].field = scratch_[i].data();
  }
  return MakeError(engine_->Predict(images.data(), static_cast<int64_t>(images.size()), results_));
}

// Statistics come first: a client that has its answer finds itself counted.
void Instance::Finish(const Times& times) {
  uint64_t computed = 0;
  for (const Request& request : batch_) {
    const bool ok = request.error == nullptr;
    if (ok) computed += static_cast<uint64_t>(request.images);
    LogIfError(TRITONBACKEND_ModelInstanceReportStatistics(handle_, request.handle, ok, times.start,
                                                           times.compute_start, times.compute_end, times.end),
               "request statistics");
  }
  if (computed > 0) {
    LogIfError(TRITONBACKEND_ModelInstanceReportBatchStatistics(
                   handle_, computed, times.start, times.compute_start, times.compute_end, times.end),
               "batch statistics");
  }
  for (Request& request : batch_) {
    if (request.response != nullptr) {
      LogIfError(TRITONBACKEND_ResponseSend(request.response, TRITONSERVER_RESPONSE_COMPLETE_FINAL,
                                            request.error.get()),
                 "response");
    }
    LogIfError(TRITONBACKEND_RequestRelease(request.handle, TRITONSERVER_REQUEST_RELEASE_ALL), "request");
    request.error.reset();
  }
}

}  // namespace ssr::triton
