#include "triton/mode.h"

namespace ssr::triton {
namespace {

// Face crops in, one answer a crop out.
Mode Crops(const Model& model) {
  Mode mode;
  mode.inputs = {{model.input_name, "TYPE_UINT8", {kImageSize, kImageSize, 3}}};
  mode.outputs = {{model.output_name, {1}, &Results::value}};
  if (!model.interval.half_widths.empty()) {
    mode.outputs.push_back({model.output_name + "_interval", {2}, &Results::interval});
  }
  const int64_t bins = model.architecture.TotalBins();
  mode.outputs.push_back({"p", {bins}, &Results::p});
  mode.outputs.push_back({"eta", {bins}, &Results::eta});
  mode.outputs.push_back(
      {"delta", {static_cast<int64_t>(model.architecture.stages.size())}, &Results::delta});
  return mode;
}

// A frame in, of each of its faces the box and the answer out.
Mode Frame(const Model& model) {
  Mode mode;
  mode.batched = false;
  mode.inputs = {{"frame", "TYPE_UINT8", {-1, -1, -1}},
                 {"boxes", "TYPE_FP32", {-1, 4}, true},
                 {"landmarks", "TYPE_FP32", {-1, 5, 2}, true}};
  mode.outputs = {{model.output_name, {-1}, &Results::value}};
  if (!model.interval.half_widths.empty()) {
    mode.outputs.push_back({model.output_name + "_interval", {-1, 2}, &Results::interval});
  }
  mode.outputs.push_back({"boxes", {-1, 4}, &Results::boxes});
  mode.outputs.push_back({"scores", {-1}, &Results::scores});
  mode.outputs.push_back({"landmarks", {-1, 5, 2}, &Results::landmarks});
  return mode;
}

}  // namespace

int64_t OutputSpec::width() const {
  int64_t product = 1;
  for (const int64_t dim : dims) product *= dim < 0 ? 1 : dim;
  return product;
}

std::vector<int64_t> OutputSpec::shape(int64_t rows) const {
  std::vector<int64_t> result{rows};
  const bool counted = !dims.empty() && dims.front() < 0;
  result.insert(result.end(), dims.begin() + (counted ? 1 : 0), dims.end());
  return result;
}

Status FindMode(const std::string& name, const Model& model, Mode* mode) {
  if (name == "crops") {
    *mode = Crops(model);
  } else if (name == "frame") {
    *mode = Frame(model);
  } else {
    return {Code::kInvalidArgument, "parameter mode: '" + name + "' is unknown, expected crops or frame"};
  }
  return {};
}

}  // namespace ssr::triton
