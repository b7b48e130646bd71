// One loaded version of a model, shared by its instances.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "triton/config.h"
#include "triton/error.h"

namespace ssr::triton {

struct ModelState {
  std::string name;
  uint64_t version = 0;
  std::shared_ptr<const Model> model;
  Config config;

  // "ssrnet version 3: ", to put before an error message.
  std::string Where() const { return name + " version " + std::to_string(version) + ": "; }
};

// Loads the bundle in the version's folder and checks the configuration against it.
Error LoadModel(TRITONBACKEND_Model* handle, std::unique_ptr<ModelState>* state);

}  // namespace ssr::triton
