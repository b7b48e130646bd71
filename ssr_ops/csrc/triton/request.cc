#include "triton/request.h"

#include <cstring>
#include <string>

#include "triton/device_memory.h"

namespace ssr::triton {
namespace {

Error Invalid(const std::string& message) { return MakeError(TRITONSERVER_ERROR_INVALID_ARG, message); }

Error CheckCancelled(TRITONBACKEND_Request* handle) {
  bool cancelled = false;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestIsCancelled(handle, &cancelled));
  if (cancelled) return MakeError(TRITONSERVER_ERROR_CANCELLED, "the request was cancelled by its client");
  return nullptr;
}

// A client that states the interface it was made for is refused when the model has another one.
Error CheckParameters(const ModelState& state, TRITONBACKEND_Request* handle) {
  uint32_t count = 0;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestParameterCount(handle, &count));
  for (uint32_t i = 0; i < count; ++i) {
    const char* key = nullptr;
    TRITONSERVER_ParameterType type = TRITONSERVER_PARAMETER_STRING;
    const void* value = nullptr;
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestParameter(handle, i, &key, &type, &value));
    if (std::strcmp(key, "interface_sha256") != 0) continue;
    if (type != TRITONSERVER_PARAMETER_STRING) {
      return Invalid("request parameter interface_sha256: expected a string of 64 hexadecimal digits");
    }
    const char* stated = static_cast<const char*>(value);
    if (state.model->interface_sha256 != stated) {
      return Invalid("the request was made for the interface " + std::string(stated) + ", " + state.name +
                     " has " + state.model->interface_sha256 + ": another interface is another model name");
    }
  }
  return nullptr;
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

Error CheckShape(const InputSpec& spec, TRITONSERVER_DataType type, const int64_t* shape,
                 uint32_t dimensions) {
  if (type != TRITONSERVER_TYPE_UINT8) return Invalid("input '" + spec.name + "' is not UINT8");
  bool fits = dimensions == spec.dims.size() + 1 && shape[0] >= 1;
  for (size_t i = 0; fits && i < spec.dims.size(); ++i) fits = shape[i + 1] == spec.dims[i];
  if (fits) return nullptr;
  std::string found, expected = "[1 or more";
  for (uint32_t i = 0; i < dimensions; ++i) found += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  for (const int64_t dim : spec.dims) expected += ", " + std::to_string(dim);
  return Invalid("input '" + spec.name + "' has shape [" + found + "], expected " + expected + "]");
}

Error ReadInput(const InputSpec& spec, std::vector<Buffer>* buffers, Gatherer* gatherer, Request* request) {
  TRITONBACKEND_Input* input = nullptr;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_RequestInput(request->handle, spec.name.c_str(), &input));
  TRITONSERVER_DataType type = TRITONSERVER_TYPE_INVALID;
  const int64_t* shape = nullptr;
  uint32_t dimensions = 0, count = 0;
  SSR_RETURN_IF_TRITON_ERROR(
      TRITONBACKEND_InputProperties(input, nullptr, &type, &shape, &dimensions, nullptr, &count));
  if (Error error = CheckShape(spec, type, shape, dimensions)) return error;
  buffers->clear();
  for (uint32_t i = 0; i < count; ++i) {
    const void* data = nullptr;
    uint64_t size = 0;
    TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
    int64_t id = 0;
    SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_InputBuffer(input, i, &data, &size, &memory, &id));
    buffers->push_back({static_cast<const uint8_t*>(data), size, memory == TRITONSERVER_MEMORY_GPU});
  }
  request->first = static_cast<int64_t>(gatherer->images().size());
  request->images = shape[0];
  return MakeError(gatherer->Add(*buffers, shape[0]), "input '" + spec.name + "' ");
}

Error FillOutput(const OutputSpec& spec, const float* rows, const Request& request) {
  const int64_t shape[] = {request.images, spec.width};
  TRITONBACKEND_Output* output = nullptr;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ResponseOutput(request.response, &output, spec.name.c_str(),
                                                          TRITONSERVER_TYPE_FP32, shape, 2));
  const size_t size = static_cast<size_t>(request.images * spec.width) * sizeof(float);
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  int64_t id = 0;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_OutputBuffer(output, &buffer, size, &memory, &id));
  if (memory == TRITONSERVER_MEMORY_GPU) {
    return MakeError(CopyFromHost(buffer, rows, size), "output '" + spec.name + "' ");
  }
  std::memcpy(buffer, rows, size);
  return nullptr;
}

}  // namespace

Error ReadRequest(const ModelState& state, std::vector<Buffer>* buffers, Gatherer* gatherer,
                  Request* request) {
  if (Error error = CheckCancelled(request->handle)) return error;
  if (Error error = CheckParameters(state, request->handle)) return error;
  const Mode& mode = state.config.mode;
  if (Error error = ReadRequestedOutputs(mode.outputs, request)) return error;
  return ReadInput(mode.inputs.front(), buffers, gatherer, request);
}

Error FillResponse(const ModelState& state, const std::string& engine, const Outputs& results,
                   const Request& request) {
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ResponseSetStringParameter(request.response, "weights_sha256",
                                                                      state.model->weights_sha256.c_str()));
  SSR_RETURN_IF_TRITON_ERROR(
      TRITONBACKEND_ResponseSetStringParameter(request.response, "engine", engine.c_str()));
  if (state.model->synthetic) {
    SSR_RETURN_IF_TRITON_ERROR(
        TRITONBACKEND_ResponseSetStringParameter(request.response, "synthetic", "true"));
  }
  const std::vector<OutputSpec>& outputs = state.config.mode.outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if ((request.requested >> i & 1) == 0) continue;
    const float* rows = results.*outputs[i].field + request.first * outputs[i].width;
    if (Error error = FillOutput(outputs[i], rows, request)) return error;
  }
  return nullptr;
}

}  // namespace ssr::triton
