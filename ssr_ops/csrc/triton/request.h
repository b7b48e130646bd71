// One request: read, then answered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "triton/error.h"
#include "triton/gather.h"
#include "triton/model_state.h"

namespace ssr::triton {

struct Request {
  TRITONBACKEND_Request* handle = nullptr;
  TRITONBACKEND_Response* response = nullptr;
  Error error;             // set: this request alone is answered with it
  int64_t first = 0;       // its rows in the batch: images, or faces
  int64_t rows = 0;        // how many
  uint64_t requested = 0;  // bit i: output i of the mode
};

// When the work of a batch began and ended, nanoseconds of the steady clock.
struct Times {
  uint64_t start = 0, compute_start = 0, compute_end = 0, end = 0;

  static uint64_t Now();
};

Error Invalid(const std::string& message);

// Checks cancellation and the interface that the request was made for, and reads which outputs it wants.
Error ReadHead(const ModelState& state, Request* request);

// Calls `take` with the key, type and value of each request parameter until one gives an error.
using TakeParameter =
    std::function<Error(std::string_view key, TRITONSERVER_ParameterType type, const void* value)>;
Error EachParameter(TRITONBACKEND_Request* handle, const TakeParameter& take);

struct InputData {
  std::vector<int64_t> shape;
  std::vector<Buffer> buffers;
};
// The input called `spec.name`: its type is checked.
Error ReadInput(TRITONBACKEND_Request* handle, const InputSpec& spec, InputData* input);

// Whether the request has the input, which may be left out if it is optional.
bool HasInput(TRITONBACKEND_Request* handle, const std::string& name);

// Rows of an input, as its shape says; -1 where the request has none of that name.
int64_t RowsOfInput(TRITONBACKEND_Request* handle, const std::string& name);

// "[2, 3]"
std::string ShapeText(const std::vector<int64_t>& shape);

// Puts `results`, which begin at the request's rows, and the response parameters into its response. `engine`:
// what computed, "int8 amx".
Error FillResponse(const ModelState& state, const std::string& engine, const Results& results,
                   const Request& request);

// Reports statistics, sends the responses and releases the requests. Statistics come first: a client that has
// its answer finds itself counted.
void Finish(TRITONBACKEND_ModelInstance* instance, const Times& times, Request* const* requests,
            size_t count);

}  // namespace ssr::triton
