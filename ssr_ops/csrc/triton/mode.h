// What a model takes and gives: one table of inputs and outputs a mode.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ssr/engine.h"
#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr::triton {

using Field = float* Outputs::*;

struct InputSpec {
  std::string name;
  std::string data_type;  // as in config.pbtxt: TYPE_UINT8
  std::vector<int64_t> dims;
};

// An output of `width` float32 values an image, which the engine writes through `field`.
struct OutputSpec {
  std::string name;
  int64_t width;
  Field field;
};

struct Mode {
  std::vector<InputSpec> inputs;
  std::vector<OutputSpec> outputs;  // the first one is the answer, which every model declares
};

// The table of the mode called `name` for this model. An unknown mode is kInvalidArgument.
Status FindMode(const std::string& name, const Model& model, Mode* mode);

}  // namespace ssr::triton
