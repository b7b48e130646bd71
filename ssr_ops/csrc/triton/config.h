// The model's configuration: what config.pbtxt says, held against the bundle it serves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ssr/model.h"
#include "ssr/status.h"
#include "triton/mode.h"

namespace ssr::triton {

// What a request in mode frame may ask for.
struct FrameLimits {
  int64_t frame_pixels = 0;  // of one frame
  int64_t boxes = 0;         // of one frame
  int64_t queue = 0;         // frames that wait
};

struct Config {
  std::string precision = "fp32";
  int threads = 1;
  FrameLimits limits;    // in mode frame
  std::string detector;  // in mode frame: sha256 of the detector's weights, or "none"
  Mode mode;             // its outputs are the declared ones, in the order of the mode's table
};

// Reads the server's JSON form of config.pbtxt and checks every part of it against the model's contract.
// The message of a failure names the part, what it says and what was expected.
Status ParseConfig(const std::string& json, const Model& model, Config* config);

}  // namespace ssr::triton
