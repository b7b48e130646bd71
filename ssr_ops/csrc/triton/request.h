// One request of a batch: read, then answered.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "triton/error.h"
#include "triton/gather.h"
#include "triton/model_state.h"

namespace ssr::triton {

struct Request {
  TRITONBACKEND_Request* handle = nullptr;
  TRITONBACKEND_Response* response = nullptr;
  Error error;        // set: this request alone is answered with it
  int64_t first = 0;  // its images in the batch
  int64_t images = 0;
  uint64_t requested = 0;  // bit i: output i of the mode
};

// Checks cancellation, request parameters, requested outputs and input, and appends the images.
Error ReadRequest(const ModelState& state, std::vector<Buffer>* buffers, Gatherer* gatherer,
                  Request* request);

// Puts the request's rows of `results` and the response parameters into its response. `engine`: what
// computed, "int8 amx".
Error FillResponse(const ModelState& state, const std::string& engine, const Outputs& results,
                   const Request& request);

}  // namespace ssr::triton
