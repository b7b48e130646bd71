#include "triton/request.h"

#include <chrono>
#include <cstring>
#include <string>

#include "triton/device_memory.h"
#include "triton/spelling.h"

namespace ssr::triton {
namespace {

Error CheckCancelled(TRITONBACKEND_Request* handle) {
  bool cancelled = false;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestIsCancelled(handle, &cancelled));
  if (cancelled) return MakeError(TRITONSERVER_ERROR_CANCELLED, "the request was cancelled by its client");
  return nullptr;
}

// A client that states the interface it was made for is refused when the model has another one, and one whose
// parameter is misspelt.
Error CheckParameters(const ModelState& state, TRITONBACKEND_Request* handle) {
  return EachParameter(
      handle, [&](std::string_view key, TRITONSERVER_ParameterType type, const void* value) -> Error {
        if (key != "interface_sha256") return CheckSpelling(key);
        if (type != TRITONSERVER_PARAMETER_STRING) {
          return Invalid("request parameter interface_sha256: expected a string of 64 hexadecimal digits");
        }
        const char* stated = static_cast<const char*>(value);
        if (state.model->interface_sha256 == stated) return nullptr;
        if (std::strlen(stated) > state.model->interface_sha256.size()) {
          return Invalid("request parameter interface_sha256: " + std::to_string(std::strlen(stated)) +
                         " characters, expected 64 hexadecimal digits");
        }
        return Invalid("the request was made for the interface " + std::string(stated) + ", " + state.name +
                       " has " + state.model->interface_sha256 + ": another interface is another model name");
      });
}

Error ReadRequestedOutputs(const std::vector<OutputSpec>& outputs, Request* request) {
  uint32_t count = 0;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestOutputCount(request->handle, &count));
  for (uint32_t i = 0; i < count; ++i) {
    const char* name = nullptr;
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestOutputName(request->handle, i, &name));
    size_t index = 0;
    while (index < outputs.size() && outputs[index].name != name) ++index;
    if (index == outputs.size()) return Invalid("output '" + std::string(name) + "' is unknown");
    request->requested |= uint64_t{1} << index;
  }
  return nullptr;
}

Error FillOutput(const OutputSpec& spec, const float* rows, const Request& request) {
  const std::vector<int64_t> shape = spec.shape(request.rows);
  TRITONBACKEND_Output* output = nullptr;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ResponseOutput(request.response, &output, spec.name.c_str(),
                                                          TRITONSERVER_TYPE_FP32, shape.data(),
                                                          static_cast<uint32_t>(shape.size())));
  const size_t size = static_cast<size_t>(request.rows * spec.width()) * sizeof(float);
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  int64_t id = 0;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_OutputBuffer(output, &buffer, size, &memory, &id));
  if (size == 0) return nullptr;
  if (memory == TRITONSERVER_MEMORY_GPU) {
    return MakeError(CopyFromHost(buffer, rows, size), "output '" + spec.name + "' ");
  }
  std::memcpy(buffer, rows, size);
  return nullptr;
}

}  // namespace

uint64_t Times::Now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

Error Invalid(const std::string& message) { return MakeError(TRITONSERVER_ERROR_INVALID_ARG, message); }

Error ReadHead(const ModelState& state, Request* request) {
  if (Error error = CheckCancelled(request->handle)) return error;
  if (Error error = CheckParameters(state, request->handle)) return error;
  return ReadRequestedOutputs(state.config.mode.outputs, request);
}

Error EachParameter(TRITONBACKEND_Request* handle, const TakeParameter& take) {
  uint32_t count = 0;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestParameterCount(handle, &count));
  for (uint32_t i = 0; i < count; ++i) {
    const char* key = nullptr;
    TRITONSERVER_ParameterType type = TRITONSERVER_PARAMETER_STRING;
    const void* value = nullptr;
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestParameter(handle, i, &key, &type, &value));
    if (Error error = take(key, type, value)) return error;
  }
  return nullptr;
}

Error ReadInput(TRITONBACKEND_Request* handle, const InputSpec& spec, InputData* input) {
  TRITONBACKEND_Input* found = nullptr;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestInput(handle, spec.name.c_str(), &found));
  TRITONSERVER_DataType type = TRITONSERVER_TYPE_INVALID;
  const int64_t* shape = nullptr;
  uint32_t dimensions = 0, count = 0;
  SSR_RETURN_IF_TRITON_ERROR(
      TRITONBACKEND_InputProperties(found, nullptr, &type, &shape, &dimensions, nullptr, &count));
  const bool bytes = spec.data_type == "TYPE_UINT8";
  if (type != (bytes ? TRITONSERVER_TYPE_UINT8 : TRITONSERVER_TYPE_FP32)) {
    return Invalid("input '" + spec.name + "' is not " + (bytes ? "UINT8" : "FP32"));
  }
  input->shape.assign(shape, shape + dimensions);
  input->buffers.clear();
  for (uint32_t i = 0; i < count; ++i) {
    const void* data = nullptr;
    uint64_t size = 0;
    TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
    int64_t id = 0;
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_InputBuffer(found, i, &data, &size, &memory, &id));
    input->buffers.push_back({static_cast<const uint8_t*>(data), size, memory == TRITONSERVER_MEMORY_GPU});
  }
  return nullptr;
}

bool HasInput(TRITONBACKEND_Request* handle, const std::string& name) {
  uint32_t count = 0;
  if (Error error = Error(TRITONBACKEND_RequestInputCount(handle, &count))) return false;
  for (uint32_t i = 0; i < count; ++i) {
    const char* found = nullptr;
    if (Error error = Error(TRITONBACKEND_RequestInputName(handle, i, &found))) return false;
    if (name == found) return true;
  }
  return false;
}

int64_t RowsOfInput(TRITONBACKEND_Request* handle, const std::string& name) {
  if (!HasInput(handle, name)) return -1;
  TRITONBACKEND_Input* input = nullptr;
  const int64_t* shape = nullptr;
  uint32_t dimensions = 0;
  if (Error error = Error(TRITONBACKEND_RequestInput(handle, name.c_str(), &input))) return 0;
  TRITONSERVER_DataType type = TRITONSERVER_TYPE_INVALID;
  uint32_t buffers = 0;
  if (Error error = Error(
          TRITONBACKEND_InputProperties(input, nullptr, &type, &shape, &dimensions, nullptr, &buffers))) {
    return 0;
  }
  return dimensions > 0 && shape[0] > 0 ? shape[0] : 0;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t dim : shape) text += (text.empty() ? "" : ", ") + std::to_string(dim);
  return "[" + text + "]";
}

Error FillResponse(const ModelState& state, const std::string& engine, const Results& results,
                   const Request& request) {
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ResponseSetStringParameter(request.response, "weights_sha256",
                                                                      state.model->weights_sha256.c_str()));
  SSR_RETURN_IF_TRITON_ERROR(
      TRITONBACKEND_ResponseSetStringParameter(request.response, "engine", engine.c_str()));
  if (state.detector != nullptr) {
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ResponseSetStringParameter(
        request.response, "detector_sha256", state.detector->weights_sha256.c_str()));
  }
  if (state.model->synthetic) {
    SSR_RETURN_IF_TRITON_ERROR(
        TRITONBACKEND_ResponseSetStringParameter(request.response, "synthetic", "true"));
  }
  const std::vector<OutputSpec>& outputs = state.config.mode.outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if ((request.requested >> i & 1) == 0) continue;
    const float* rows = results.*outputs[i].field;
    if (rows == nullptr) continue;  // what nobody can say of these faces
    if (Error error = FillOutput(outputs[i], rows, request)) return error;
  }
  return nullptr;
}

void Finish(TRITONBACKEND_ModelInstance* instance, const Times& times, Request* const* requests,
            size_t count) {
  uint64_t computed = 0;
  for (size_t i = 0; i < count; ++i) {
    const Request* request = requests[i];
    const bool ok = request->error == nullptr;
    if (ok) computed += static_cast<uint64_t>(request->rows);
    LogIfError(TRITONBACKEND_ModelInstanceReportStatistics(instance, request->handle, ok, times.start,
                                                           times.compute_start, times.compute_end, times.end),
               "request statistics");
  }
  if (computed > 0) {
    LogIfError(TRITONBACKEND_ModelInstanceReportBatchStatistics(
                   instance, computed, times.start, times.compute_start, times.compute_end, times.end),
               "batch statistics");
  }
  for (size_t i = 0; i < count; ++i) {
    Request* request = requests[i];
    if (request->response != nullptr) {
      LogIfError(TRITONBACKEND_ResponseSend(request->response, TRITONSERVER_RESPONSE_COMPLETE_FINAL,
                                            request->error.get()),
                 "response");
    }
    LogIfError(TRITONBACKEND_RequestRelease(request->handle, TRITONSERVER_REQUEST_RELEASE_ALL), "request");
    request->error.reset();
  }
}

}  // namespace ssr::triton
