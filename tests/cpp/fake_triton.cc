#include "fake_triton.h"

#include <cstdlib>
#include <iterator>

struct TRITONSERVER_Message {
  std::string json;
};

namespace fake {

std::atomic<int> live_errors{0}, live_responses{0}, live_messages{0};
std::atomic<int> fail_at{0};
uint32_t api_major = 1, api_minor = 19;
std::vector<std::string> log;

namespace {

// Null, or the failure that the test ordered.
TRITONSERVER_Error* Ok() {
  if (fail_at > 0 && --fail_at == 0) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_UNAVAILABLE, "ordered failure");
  }
  return nullptr;
}

}  // namespace
}  // namespace fake

#define OK_OR_RETURN                            \
  do {                                          \
    if (auto* error = fake::Ok()) return error; \
  } while (false)

#define GETTER(function, object, type, value)                \
  TRITONSERVER_Error* function(object* self, type* result) { \
    OK_OR_RETURN;                                            \
    *result = value;                                         \
    return nullptr;                                          \
  }

extern "C" {

TRITONSERVER_Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* message) {
  ++fake::live_errors;
  return new TRITONSERVER_Error{code, message};
}
void TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error) {
  --fake::live_errors;
  delete error;
}
const char* TRITONSERVER_ErrorMessage(TRITONSERVER_Error* error) { return error->message.c_str(); }

TRITONSERVER_Error* TRITONSERVER_LogMessage(TRITONSERVER_LogLevel, const char*, int, const char* message) {
  OK_OR_RETURN;
  fake::log.push_back(message);
  return nullptr;
}

TRITONSERVER_Error* TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message* message, const char** base,
                                                        size_t* size) {
  OK_OR_RETURN;
  *base = message->json.data();
  *size = message->json.size();
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MessageDelete(TRITONSERVER_Message* message) {
  --fake::live_messages;
  delete message;
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_ApiVersion(uint32_t* major, uint32_t* minor) {
  OK_OR_RETURN;
  *major = fake::api_major;
  *minor = fake::api_minor;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_BackendSetExecutionPolicy(TRITONBACKEND_Backend*,
                                                            TRITONBACKEND_ExecutionPolicy) {
  return fake::Ok();
}
TRITONSERVER_Error* TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(
    TRITONBACKEND_BackendAttribute* attribute, TRITONSERVER_InstanceGroupKind kind, uint64_t, const uint64_t*,
    uint64_t) {
  OK_OR_RETURN;
  attribute->kinds.push_back(kind);
  return nullptr;
}

GETTER(TRITONBACKEND_ModelName, TRITONBACKEND_Model, const char*, self->name.c_str())
GETTER(TRITONBACKEND_ModelVersion, TRITONBACKEND_Model, uint64_t, self->version)
GETTER(TRITONBACKEND_ModelState, TRITONBACKEND_Model, void*, self->state)
TRITONSERVER_Error* TRITONBACKEND_ModelSetState(TRITONBACKEND_Model* model, void* state) {
  OK_OR_RETURN;
  model->state = state;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelRepository(TRITONBACKEND_Model* model,
                                                  TRITONBACKEND_ArtifactType* type, const char** location) {
  OK_OR_RETURN;
  *type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  *location = model->location.c_str();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelConfig(TRITONBACKEND_Model* model, uint32_t,
                                              TRITONSERVER_Message** config) {
  OK_OR_RETURN;
  ++fake::live_messages;
  *config = new TRITONSERVER_Message{model->config};
  return nullptr;
}

GETTER(TRITONBACKEND_ModelInstanceName, TRITONBACKEND_ModelInstance, const char*, (void(self), "ages_0"))
GETTER(TRITONBACKEND_ModelInstanceKind, TRITONBACKEND_ModelInstance, TRITONSERVER_InstanceGroupKind,
       self->kind)
GETTER(TRITONBACKEND_ModelInstanceDeviceId, TRITONBACKEND_ModelInstance, int32_t, (void(self), 0))
GETTER(TRITONBACKEND_ModelInstanceModel, TRITONBACKEND_ModelInstance, TRITONBACKEND_Model*, self->model)
GETTER(TRITONBACKEND_ModelInstanceState, TRITONBACKEND_ModelInstance, void*, self->state)
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceSetState(TRITONBACKEND_ModelInstance* instance, void* state) {
  OK_OR_RETURN;
  instance->state = state;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportStatistics(TRITONBACKEND_ModelInstance*,
                                                                TRITONBACKEND_Request* request, bool success,
                                                                uint64_t start, uint64_t compute_start,
                                                                uint64_t compute_end, uint64_t end) {
  if (request->outcome.released != 0) std::abort();
  if (start == 0 || compute_start < start || compute_end < compute_start || end < compute_end) std::abort();
  ++request->outcome.reported;
  request->outcome.reported_ok = success;
  return fake::Ok();
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(TRITONBACKEND_ModelInstance* instance,
                                                                     uint64_t batch_size, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t) {
  instance->batches.push_back(batch_size);
  return fake::Ok();
}

GETTER(TRITONBACKEND_RequestIsCancelled, TRITONBACKEND_Request, bool, self->cancelled)
GETTER(TRITONBACKEND_RequestParameterCount, TRITONBACKEND_Request, uint32_t,
       static_cast<uint32_t>(self->parameters.size()))
TRITONSERVER_Error* TRITONBACKEND_RequestParameter(TRITONBACKEND_Request* request, uint32_t index,
                                                   const char** key, TRITONSERVER_ParameterType* type,
                                                   const void** value) {
  OK_OR_RETURN;
  const FakeParameter& parameter = request->parameters.at(index);
  *key = parameter.key.c_str();
  *type = parameter.type;
  *value = parameter.value.c_str();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestInput(TRITONBACKEND_Request* request, const char* name,
                                               TRITONBACKEND_Input** input) {
  OK_OR_RETURN;
  if (!request->others.empty() && request->others.count(name) != 0) {
    *input = &request->others.at(name);
    return nullptr;
  }
  if (std::string(name) != "image")
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, "no such input");
  *input = &request->image;
  return nullptr;
}
GETTER(TRITONBACKEND_RequestInputCount, TRITONBACKEND_Request, uint32_t,
       static_cast<uint32_t>(self->others.empty() ? 1 : self->others.size()))
TRITONSERVER_Error* TRITONBACKEND_RequestInputName(TRITONBACKEND_Request* request, uint32_t index,
                                                   const char** name) {
  OK_OR_RETURN;
  auto input = request->others.begin();
  std::advance(input, index);
  *name = input->first.c_str();
  return nullptr;
}
GETTER(TRITONBACKEND_RequestOutputCount, TRITONBACKEND_Request, uint32_t,
       static_cast<uint32_t>(self->outputs.size()))
TRITONSERVER_Error* TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request* request, uint32_t index,
                                                    const char** name) {
  OK_OR_RETURN;
  *name = request->outputs.at(index).c_str();
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request* request, uint32_t flags) {
  if (flags != TRITONSERVER_REQUEST_RELEASE_ALL) std::abort();
  // As in a real server, the input is gone now.
  request->image.buffers.clear();
  for (auto& entry : request->others) entry.second.buffers.clear();
  ++request->outcome.released;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_InputProperties(TRITONBACKEND_Input* input, const char**,
                                                  TRITONSERVER_DataType* type, const int64_t** shape,
                                                  uint32_t* dimensions, uint64_t*, uint32_t* buffers) {
  OK_OR_RETURN;
  *type = input->type;
  *shape = input->shape.data();
  *dimensions = static_cast<uint32_t>(input->shape.size());
  *buffers = static_cast<uint32_t>(input->buffers.size());
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_InputBuffer(TRITONBACKEND_Input* input, uint32_t index, const void** buffer,
                                              uint64_t* size, TRITONSERVER_MemoryType* memory, int64_t* id) {
  OK_OR_RETURN;
  const FakeBuffer& found = input->buffers.at(index);
  *buffer = found.bytes.data();
  *size = found.bytes.size();
  *memory = found.memory;
  *id = 0;
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response,
                                              TRITONBACKEND_Request* request) {
  OK_OR_RETURN;
  ++fake::live_responses;
  *response = new TRITONBACKEND_Response{request, {}, {}};
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSetStringParameter(TRITONBACKEND_Response* response,
                                                             const char* name, const char* value) {
  OK_OR_RETURN;
  response->parameters[name] = value;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseOutput(TRITONBACKEND_Response* response,
                                                 TRITONBACKEND_Output** output, const char* name,
                                                 TRITONSERVER_DataType type, const int64_t* shape,
                                                 uint32_t dimensions) {
  OK_OR_RETURN;
  if (type != TRITONSERVER_TYPE_FP32) std::abort();
  *output = &response->outputs[name];
  (*output)->shape.assign(shape, shape + dimensions);
  (*output)->memory = response->request->output_memory;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_OutputBuffer(TRITONBACKEND_Output* output, void** buffer, uint64_t size,
                                               TRITONSERVER_MemoryType* memory, int64_t*) {
  OK_OR_RETURN;
  output->values.resize(size / sizeof(float));
  *buffer = output->values.data();
  *memory = output->memory;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(TRITONBACKEND_Response* response, uint32_t flags,
                                               TRITONSERVER_Error* error) {
  if (flags != TRITONSERVER_RESPONSE_COMPLETE_FINAL) std::abort();
  FakeOutcome& outcome = response->request->outcome;
  if (outcome.released != 0) std::abort();
  ++outcome.sent;
  outcome.has_error = error != nullptr;
  if (error != nullptr) {
    outcome.code = error->code;
    outcome.message = error->message;
  } else {
    outcome.outputs = response->outputs;
    outcome.parameters = response->parameters;
  }
  --fake::live_responses;
  delete response;
  return nullptr;
}

}  // extern "C"
