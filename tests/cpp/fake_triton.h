// A server of one model in memory: it does on command what a real one does rarely.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "triton/triton_api.h"

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  std::string message;
};

struct TRITONBACKEND_Backend {};

struct TRITONBACKEND_BackendAttribute {
  std::vector<TRITONSERVER_InstanceGroupKind> kinds;
};

struct TRITONBACKEND_Model {
  std::string name = "ages", location = "/repository/ages", config;
  uint64_t version = 3;
  void* state = nullptr;
};

struct TRITONBACKEND_ModelInstance {
  TRITONBACKEND_Model* model = nullptr;
  TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_CPU;
  std::vector<uint64_t> batches;  // reported sizes
  void* state = nullptr;
};

struct FakeBuffer {
  std::vector<uint8_t> bytes;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
};

struct TRITONBACKEND_Input {
  TRITONSERVER_DataType type = TRITONSERVER_TYPE_UINT8;
  std::vector<int64_t> shape;
  std::vector<FakeBuffer> buffers;
};

struct FakeParameter {
  std::string key;
  TRITONSERVER_ParameterType type;
  std::string value;
};

struct TRITONBACKEND_Output {
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// A count that another thread waits for.
struct FakeCount {
  std::atomic<int> value{0};
  FakeCount() = default;
  FakeCount(const FakeCount& other) : value(other.value.load()) {}
  FakeCount& operator=(const FakeCount& other) { return value = other.value.load(), *this; }
  operator int() const { return value; }
  void operator++() { ++value; }
};

// What became of a request: the counts are 1 after a proper Execute.
struct FakeOutcome {
  int sent = 0, reported = 0;
  FakeCount released;  // the last of the three
  bool reported_ok = false, has_error = false;
  TRITONSERVER_Error_Code code = TRITONSERVER_ERROR_UNKNOWN;
  std::string message;
  std::map<std::string, TRITONBACKEND_Output> outputs;
  std::map<std::string, std::string> parameters;
};

struct TRITONBACKEND_Request {
  bool cancelled = false;
  TRITONBACKEND_Input image;                          // the input "image", unless `others` are there
  std::map<std::string, TRITONBACKEND_Input> others;  // of a frame: "frame", "boxes", "landmarks"
  std::vector<std::string> outputs;
  std::vector<FakeParameter> parameters;
  TRITONSERVER_MemoryType output_memory = TRITONSERVER_MEMORY_CPU;
  FakeOutcome outcome;
};

struct TRITONBACKEND_Response {
  TRITONBACKEND_Request* request;
  std::map<std::string, TRITONBACKEND_Output> outputs;
  std::map<std::string, std::string> parameters;
};

namespace fake {

// Objects handed out and not taken back.
extern std::atomic<int> live_errors, live_responses, live_messages;
// The n-th call from now that can fail does (1: the next); 0: none.
extern std::atomic<int> fail_at;
extern uint32_t api_major, api_minor;
extern std::vector<std::string> log;

}  // namespace fake

extern "C" {
TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend*);
TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(TRITONBACKEND_Backend*,
                                                      TRITONBACKEND_BackendAttribute*);
TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model*);
TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model*);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance*);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance*);
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance*, TRITONBACKEND_Request**,
                                                       uint32_t);
}
