// One execution slot of a model: an engine and the memory that its batches reuse.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "triton/request.h"

namespace ssr::triton {

class Instance {
 public:
  static Error Create(TRITONBACKEND_ModelInstance* handle, std::unique_ptr<Instance>* instance);

  // Answers and releases every request; all good ones are computed in one Predict call. An error is
  // returned only while the requests are still the server's. Never called concurrently.
  Error Execute(TRITONBACKEND_Request** requests, uint32_t count);

 private:
  struct Times {
    uint64_t start = 0, compute_start = 0, compute_end = 0, end = 0;
  };

  Instance(TRITONBACKEND_ModelInstance* handle, const ModelState& state, std::unique_ptr<Engine> engine);

  Error Compute();
  void Finish(const Times& times);

  TRITONBACKEND_ModelInstance* handle_;
  const ModelState& state_;
  std::unique_ptr<Engine> engine_;
  const std::string computes_;  // precision and implementation, for the responses
  std::vector<Request> batch_;
  std::vector<Buffer> buffers_;
  Gatherer gatherer_;
  std::vector<std::vector<float>> scratch_;  // one an output of the mode
  Outputs results_;                          // into scratch_
};

}  // namespace ssr::triton
