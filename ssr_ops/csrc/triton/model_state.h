// One loaded version of a model, shared by its instances.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ssr/detector.h"
#include "triton/config.h"
#include "triton/error.h"

namespace ssr::triton {

struct ModelState {
  std::string name;
  uint64_t version = 0;
  std::shared_ptr<const Model> model;
  std::shared_ptr<const DetectorModel> detector;  // null: in mode crops, and where none is served
  Config config;

  // "ssrnet version 3: ", to put before an error message.
  std::string Where() const { return name + " version " + std::to_string(version) + ": "; }
};

// Loads the bundle in the version's folder, and in mode frame the detector in the model's, and checks the
// configuration against them. Models and versions of one content share it in memory.
Error LoadModel(TRITONBACKEND_Model* handle, std::unique_ptr<ModelState>* state);

}  // namespace ssr::triton
