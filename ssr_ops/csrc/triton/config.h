// The model's configuration: what config.pbtxt says, held against the bundle it serves.
#pragma once

#include <string>
#include <vector>

#include "ssr/model.h"
#include "ssr/status.h"
#include "triton/mode.h"

namespace ssr::triton {

struct Config {
  std::string precision = "fp32";
  int threads = 1;
  Mode mode;  // its outputs are the declared ones, in the order of the mode's table
};

// Reads the server's JSON form of config.pbtxt and checks every part of it against the model's contract.
// The message of a failure names the part, what it says and what was expected.
Status ParseConfig(const std::string& json, const Model& model, Config* config);

}  // namespace ssr::triton
