// What a model takes and gives: one table of inputs and outputs a mode.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ssr/engine.h"
#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr::triton {

// Where the rows of a batch's outputs begin; null for what nobody wants, or nobody can say.
struct Results : Outputs {
  float* boxes = nullptr;      // (n, 4): x, y, width, height
  float* scores = nullptr;     // (n)
  float* landmarks = nullptr;  // (n, 5, 2)
};

using Field = float* Results::*;

struct InputSpec {
  std::string name;
  std::string data_type;  // as in config.pbtxt: TYPE_UINT8
  std::vector<int64_t> dims;
  bool optional = false;
};

// An output of FP32. `dims` as in config.pbtxt: of one row where requests are batched, else -1 and those of a
// row.
struct OutputSpec {
  std::string name;
  std::vector<int64_t> dims;
  Field field;

  // Values of a row.
  int64_t width() const;
  // Of so many rows in a response.
  std::vector<int64_t> shape(int64_t rows) const;
};

struct Mode {
  bool batched = true;  // the first dimension of inputs and outputs is the server's batch
  std::vector<InputSpec> inputs;
  std::vector<OutputSpec> outputs;  // the first one is the answer, which every model declares
};

// The table of the mode called `name` for this model: "crops", or "frame". An unknown mode is
// kInvalidArgument.
Status FindMode(const std::string& name, const Model& model, Mode* mode);

}  // namespace ssr::triton
