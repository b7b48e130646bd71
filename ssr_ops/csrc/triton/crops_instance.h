// The mode `crops`: the server's batches, each computed in the call that brings it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "triton/instance.h"
#include "triton/request.h"

namespace ssr::triton {

class CropsInstance final : public Instance {
 public:
  CropsInstance(TRITONBACKEND_ModelInstance* handle, const ModelState& state, std::unique_ptr<Engine> engine);

  // Answers and releases every request; all good ones are computed in one Predict call.
  Error Execute(TRITONBACKEND_Request** requests, uint32_t count) override;

 private:
  Error Read(Request* request);
  Error Compute();
  Results RowsOf(const Request& request) const;

  TRITONBACKEND_ModelInstance* handle_;
  const ModelState& state_;
  std::unique_ptr<Engine> engine_;
  const std::string computes_;  // precision and implementation, for the responses
  std::vector<Request> batch_;
  std::vector<Request*> finished_;  // into batch_
  InputData input_;
  Gatherer gatherer_;
  std::vector<std::vector<float>> scratch_;  // one an output of the mode
  Results results_;                          // into scratch_
};

}  // namespace ssr::triton
