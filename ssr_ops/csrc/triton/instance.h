// One execution slot of a model.
#pragma once

#include <cstdint>
#include <memory>

#include "triton/model_state.h"

namespace ssr::triton {

class Instance {
 public:
  // The instance of the model's mode, with an engine of its own.
  static Error Create(TRITONBACKEND_ModelInstance* handle, std::unique_ptr<Instance>* instance);
  virtual ~Instance() = default;

  // Takes over every request, unless it returns an error: then they are the server's still. Never called
  // concurrently.
  virtual Error Execute(TRITONBACKEND_Request** requests, uint32_t count) = 0;
};

}  // namespace ssr::triton
