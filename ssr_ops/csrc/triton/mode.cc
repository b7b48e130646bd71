#include "triton/mode.h"

namespace ssr::triton {
namespace {

// Face crops in, one answer a crop out.
Mode Crops(const Model& model) {
  Mode mode;
  mode.inputs = {{model.input_name, "TYPE_UINT8", {kImageSize, kImageSize, 3}}};
  mode.outputs = {{model.output_name, 1, &Outputs::value}};
  if (!model.interval.half_widths.empty()) {
    mode.outputs.push_back({model.output_name + "_interval", 2, &Outputs::interval});
  }
  const int64_t bins = model.architecture.TotalBins();
  mode.outputs.push_back({"p", bins, &Outputs::p});
  mode.outputs.push_back({"eta", bins, &Outputs::eta});
  mode.outputs.push_back({"delta", static_cast<int64_t>(model.architecture.stages.size()), &Outputs::delta});
  return mode;
}

}  // namespace

Status FindMode(const std::string& name, const Model& model, Mode* mode) {
  if (name == "crops") {
    *mode = Crops(model);
    return {};
  }
  return {Code::kInvalidArgument, "parameter mode: '" + name + "' is unknown, expected crops"};
}

}  // namespace ssr::triton
