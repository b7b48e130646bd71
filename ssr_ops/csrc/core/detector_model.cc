#include "core/detector_model.h"

#include "core/shown.h"
#include "core/strict_json.h"

namespace ssr {
namespace {

using nlohmann::json;

constexpr int kMostCandidates = 10000;

json FixedInput() {
  return {{"colour", "bgr"}, {"dtype", "uint8"}, {"layout", "hwc"}, {"multiple", kDetectorMultiple}};
}
json FixedOutput() {
  return {{"box", "yunet"},
          {"landmarks", {"right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner"}}};
}
json FixedArchitecture() {
  return {
      {"kind", "yunet"}, {"stem", kDetectorStem}, {"width", kDetectorWidth}, {"strides", kDetectorStrides}};
}

// An object with these keys, each with its value, and no others.
void CheckFixed(const Node& node, const json& expected) {
  for (const auto& [key, value] : expected.items()) node[key].Exactly(value);
  for (const auto& [key, value] : node.value.items()) {
    if (!expected.contains(key)) Bad(node.where + "." + ShownText(key) + ": is not a detector's");
  }
}

bool AreScales(const std::vector<int>& scales) {
  bool good = !scales.empty() && scales.size() <= static_cast<size_t>(kMostScales);
  for (size_t i = 0; good && i < scales.size(); ++i) {
    good = scales[i] >= (i == 0 ? kSmallestScale : scales[i - 1] + 1) && scales[i] <= kLargestScale;
  }
  return good;
}

std::string ExpectedScales() {
  return "expected 1 to " + std::to_string(kMostScales) + " rising whole numbers in " +
         std::to_string(kSmallestScale) + ".." + std::to_string(kLargestScale) + ", got ";
}

double Within(const Node& node, double least) {
  const double value = node.Number();
  if (value < least || value > 1) {
    Bad(node.where + ": must lie in " + NumberText(least) + "..1, got " + NumberText(value));
  }
  return value;
}

void ParseRoot(const Node& node, DetectorModel* model, std::map<std::string, FileEntry>* files) {
  if (node.value.is_object() && !node.value.contains("kind") && node.value.contains("interface")) {
    Bad("kind: this is the bundle of an age network, expected that of a detector");
  }
  const json& kind = node["kind"].value;
  if (kind != json("detector")) {
    Bad("kind: this is the bundle of a " + Shown(kind) + ", expected a detector's");
  }
  const json& version = node["contract_version"].value;
  if (!version.is_number_integer() || version != 1) {
    Bad("contract_version " + Shown(version) + " is unknown, expected 1");
  }
  CheckFixed(node["input"], FixedInput());
  CheckFixed(node["output"], FixedOutput());
  CheckFixed(node["architecture"], FixedArchitecture());
  model->name = ModelName(node["name"]);
  const Node scales = node["scales"];
  if (!scales.value.is_array()) scales.Expected("a list");
  for (const json& scale : scales.value) {
    const bool fits = scale.is_number_integer() && scale >= 0 && scale <= kLargestScale;
    model->scales.push_back(fits ? scale.get<int>() : -1);
  }
  if (!AreScales(model->scales)) Bad("scales: " + ExpectedScales() + Shown(scales.value));
  model->score_threshold = Within(node["score_threshold"], double{0.01});
  model->nms_threshold = Within(node["nms_threshold"], 0);
  model->merge_threshold = Within(node["merge_threshold"], 0);
  model->max_candidates = node["max_candidates"].Integer(1, kMostCandidates);
  ParseProvenance(node["provenance"]);
  *files = ParseFiles(node["files"]);
}

}  // namespace

Status ParseDetectorContract(const std::string& text, DetectorModel* model,
                             std::map<std::string, FileEntry>* files) {
  try {
    json root;
    SSR_RETURN_IF_ERROR(ParseJson(text, &root));
    ParseRoot({root, ""}, model, files);
    return {};
  } catch (const Fault& fault) {
    return {Code::kInvalidArgument, fault.what};
  }
}

Shapes DetectorShapes() {
  Shapes shapes = {{"stem.weight", {kDetectorStem, 3, 3, 3}}, {"stem.bias", {kDetectorStem}}};
  const auto add = [&](const std::string& name, int in, int out) {
    shapes[name + ".point.weight"] = {out, in};
    shapes[name + ".point.bias"] = {out};
    shapes[name + ".depth.weight"] = {out, 3, 3};
    shapes[name + ".depth.bias"] = {out};
  };
  add("stem.unit", kDetectorStem, kDetectorStem);
  add("backbone.1.0", kDetectorStem, kDetectorStem);
  add("backbone.1.1", kDetectorStem, kDetectorWidth);
  for (const char* stage : {"2", "3", "4", "5"}) {
    for (const char* unit : {".0", ".1"}) {
      add(std::string("backbone.") + stage + unit, kDetectorWidth, kDetectorWidth);
    }
  }
  for (const int stride : kDetectorStrides) {
    const std::string of = "." + std::to_string(stride);
    add("neck" + of, kDetectorWidth, kDetectorWidth);
    add("shared" + of, kDetectorWidth, kDetectorWidth);
    for (int head = 0; head < 4; ++head) {
      add(kDetectorHeads[head] + of, kDetectorWidth, kDetectorHeadValues[head]);
    }
  }
  return shapes;
}

Status CheckSearch(const SearchOptions& search) {
  if (search.threshold != 0 && !(search.threshold >= kLeastThreshold && search.threshold <= 1)) {
    return {Code::kInvalidArgument, "threshold: must lie in 0.01..1, got " + NumberText(search.threshold)};
  }
  if (search.scales.empty() || AreScales(search.scales)) return {};
  return {Code::kInvalidArgument, "scales: " + ExpectedScales() + Shown(json(search.scales))};
}

Status DetectorModel::Load(const std::string& folder, std::shared_ptr<const DetectorModel>* model) {
  const auto shapes_of = [](const DetectorModel&) { return DetectorShapes(); };
  return LoadBundle(folder, ParseDetectorContract, shapes_of, model);
}

}  // namespace ssr
