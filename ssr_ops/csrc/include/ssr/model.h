// A bundle, loaded and verified: what the contract says and the float32 parameters.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ssr/crop.h"
#include "ssr/maps.h"
#include "ssr/status.h"

namespace ssr {

struct Tap {
  int level;  // 1..4: after which block the stage reads the streams
  int pool;   // head pool, 1 = none
};

struct Architecture {
  std::vector<int> stages;  // bins s_k, deepest level first
  std::vector<Tap> taps;
  double value_range, lambda_index, lambda_width, denominator_floor, batch_norm_epsilon;
  int width_x, width_s, width_fusion;

  int TotalBins() const {
    int total = 0;
    for (const int bins : stages) total += bins;
    return total;
  }
};

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// Calibrated half-widths: a value on edges[i] belongs to band i + 1. Empty half_widths: none.
struct Interval {
  std::vector<double> edges, half_widths;
};

// What is served in place of a clipped answer: after[i] for before[i], linear in between. Empty: the answer.
struct Recalibration {
  std::vector<double> before, after;
};

// How far a precision's answers lie from fp32's, in the output's unit.
struct Drift {
  double mean, signed_mean, p99, max;
};

// What bf16 and int8 need besides the weights, measured by `ssr-train quantize`; see core/quantize.h.
struct Quantization {
  // One X stream block each: the largest value of every channel's map, real units.
  std::vector<double> ranges[kBlocks];
  // By layer ("x.0", "stages.1.fuse_s"): what is added to each output channel's folded bias.
  std::map<std::string, std::vector<double>> int8, bf16;
  // By layer, less the first blocks: which way each weight of int8 is rounded, OIHW, true up. Empty: to
  // nearest.
  std::map<std::string, std::vector<bool>> rounding;
  // By precision, as measured on faces held out, or where too few were given on the others. Empty: not
  // stated.
  std::map<std::string, Drift> drift;
};

class Model {
 public:
  // Reads <folder>/contract.json and model.safetensors, checking names, shapes, finiteness, and the
  // sha256 of every file that the contract lists.
  static Status Load(const std::string& folder, std::shared_ptr<const Model>* model);

  Architecture architecture;
  std::map<std::string, Tensor> parameters;  // names of SSRNet's state dict
  std::string name;
  std::string colour;       // "bgr" or "rgb"
  std::string input_name;   // "image"
  Crop crop;                // how the images are cut from a picture
  std::string output_name;  // "age" or "male"
  std::string output_unit;  // "years" or "probability"
  float clip_low, clip_high;
  Interval interval;
  Recalibration recalibration;
  std::string interface_sha256;  // verified against the contract's interface block
  std::string contract_sha256;   // of contract.json, which pins every other file
  std::string weights_sha256;    // of model.safetensors
  bool synthetic = false;        // provenance.synthetic: learned from drawn faces
  std::optional<Quantization> quantization;
};

}  // namespace ssr
