#include "core/contract.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "core/bundle_fields.h"
#include "core/canonical_json.h"
#include "core/crop_geometry.h"
#include "core/shown.h"
#include "core/strict_json.h"
#include "ssr/implementation.h"
#include "ssr/params.h"
#include "ssr/sha256.h"

namespace ssr {
namespace {

using nlohmann::json;

const std::string& TensorName(const Node& node) {
  if (!IsName(node.String(), false, "_")) {
    Bad(node.where + ": '" + ShownText(node.String()) + "' cannot name a tensor");
  }
  return node.String();
}

// What ssr_bundle.contract.Crop allows.
constexpr double kLeastMargin = -0.9, kLargestMargin = 4, kLeastOfBox = 0.1;
constexpr int kLeastTemplateSize = 8, kLargestTemplateSize = 4096;

std::vector<std::vector<double>> ParseTemplate(const Node& node, int size, Crop* parsed) {
  if (!node.value.is_array() || node.value.size() != kLandmarks) node.Expected("five points");
  std::vector<std::vector<double>> points;
  for (const json& item : node.value) {
    points.push_back(Node{item, node.where}.Numbers());
    if (points.back().size() != 2) node.Expected("points as two numbers");
    for (const double v : points.back()) {
      if (v < -size || v > 2 * size) node.Expected("points within a side of the picture");
    }
  }
  for (size_t i = 0; i < kLandmarks; ++i) std::copy(points[i].begin(), points[i].end(), parsed->points[i]);
  if (IsLine(parsed->points)) Bad(node.where + ": the five points lie on one line");
  parsed->size = size;
  return points;
}

// The margin in the shortest form that can say it: version 1 of the contract has two numbers.
std::vector<double> ParseMargin(const Node& node, bool clipped) {
  std::vector<double> m = node.Numbers();
  const auto within = [](double low) { return [=](double v) { return v >= low && v <= kLargestMargin; }; };
  if (m.size() == 2 && std::all_of(m.begin(), m.end(), within(0))) m = {m[0], m[1], m[0], m[1]};
  if (m.size() != 4 || !std::all_of(m.begin(), m.end(), within(kLeastMargin))) {
    node.Expected("two numbers in 0..4 (version 1), or four in -0.9..4 (left, top, right, bottom)");
  }
  if (std::min(1 + m[0] + m[2], 1 + m[1] + m[3]) < kLeastOfBox) {
    Bad(node.where + ": leaves less than 0.1 of a box's width or height");
  }
  if (clipped && m[0] == m[2] && m[1] == m[3] && m[0] >= 0 && m[1] >= 0) m.resize(2);
  return m;
}

// As JSON, and parsed.
json CropJson(const Node& node, Crop* parsed) {
  json crop = {{"box", node["box"].Choice({"yunet", "haar"})},
               {"border", node["border"].Choice({"clip", "replicate", "constant"})},
               {"interpolation", node["interpolation"].Choice({"bilinear"})},
               {"alignment", node["alignment"].Choice({"none", "similarity"})}};
  const bool clipped = crop["border"] == "clip";
  parsed->box = crop["box"];
  parsed->border = clipped                         ? Border::kClip
                   : crop["border"] == "replicate" ? Border::kReplicate
                                                   : Border::kConstant;
  parsed->aligned = crop["alignment"] == "similarity";
  if (!parsed->aligned) {
    crop["rounding"] = node["rounding"].Choice({"floor-inclusive"});
    const std::vector<double> margin = ParseMargin(node["margin"], clipped);
    for (size_t i = 0; i < 4; ++i) parsed->margin[i] = margin[i % margin.size()];
    crop["margin"] = margin;
    return crop;
  }
  if (clipped) Bad(node["border"].where + ": an aligned crop cannot be clipped");
  const int size = node["size"].Integer(kLeastTemplateSize, kLargestTemplateSize);
  crop["size"] = size;
  crop["template"] = ParseTemplate(node["template"], size, parsed);
  return crop;
}

// The oldest version of the contract that can say this crop.
int VersionOf(const json& crop) { return crop.contains("margin") && crop["margin"].size() == 2 ? 1 : 2; }

// Checks the interface, which stands in the contract as `text`, and returns its canonical JSON, which is what
// is hashed.
std::string ParseInterface(const Node& node, std::string_view text, Model* model) {
  const Node input = node["input"], crop = node["crop"], output = node["output"];
  json interface;
  interface["input"] = {{"size", {kImageSize, kImageSize}},
                        {"channels", 3},
                        {"dtype", "uint8"},
                        {"layout", "nhwc"},
                        {"scale", 1.0}};
  for (const auto& [key, value] : interface["input"].items()) input[key].Exactly(value);
  interface["input"]["colour"] = model->colour = input["colour"].Choice({"bgr", "rgb"});
  interface["input"]["name"] = model->input_name = TensorName(input["name"]);

  interface["crop"] = CropJson(crop, &model->crop);

  const std::vector<double> clip = output["clip"].Numbers();
  if (clip.size() != 2 || !Representable<float>(clip[0]) || !Representable<float>(clip[1]) ||
      !(static_cast<float>(clip[0]) < static_cast<float>(clip[1]))) {
    output["clip"].Expected("two rising numbers of float32");
  }
  model->clip_low = static_cast<float>(clip[0]);
  model->clip_high = static_cast<float>(clip[1]);
  model->output_name = TensorName(output["name"]);
  model->output_unit = output["unit"].String();
  interface["output"] = {{"clip", clip}, {"name", model->output_name}, {"unit", model->output_unit}};

  const std::string canonical = Canonical(interface);
  if (WithNumbersQuoted(text) != WithNumbersQuoted(canonical)) {
    Bad("interface: expected exactly " + Cut(canonical, 1000) +
        " (no other keys, numbers written the same way)");
  }
  return canonical;
}

Architecture ParseArchitecture(const Node& node) {
  static const std::vector<Tap> kTaps[kBlocks] = {
      {{4, 1}}, {{4, 1}, {2, 4}}, {{4, 1}, {2, 4}, {1, 8}}, {{4, 1}, {3, 2}, {2, 4}, {1, 8}}};
  Architecture a = {};
  const Node stages = node["stages"], widths = node["widths"];
  if (!stages.value.is_array()) stages.Expected("a list");
  if (stages.value.empty() || stages.value.size() > kBlocks) {
    Bad("architecture: " + std::to_string(stages.value.size()) +
        " stages; this network has levels for 1 to 4");
  }
  for (const json& item : stages.value) a.stages.push_back(Node{item, stages.where}.Integer(1, 256));
  a.width_x = widths["x"].Integer(1, 512);
  a.width_s = widths["s"].Integer(1, 512);
  a.width_fusion = widths["fusion"].Integer(1, 512);
  for (const auto& [key, field] : {std::pair{"value_range", &a.value_range},
                                   {"denominator_floor", &a.denominator_floor},
                                   {"batch_norm_epsilon", &a.batch_norm_epsilon}}) {
    *field = node[key].Number();
    if (!(*field > 0) || !Representable<float>(*field)) {
      Bad(node[key].where + ": must be positive and finite in float32, got " + NumberText(*field));
    }
  }
  if (a.denominator_floor < kSmallestFloor) {
    Bad("architecture.denominator_floor: must be at least " + NumberText(kSmallestFloor) + ", got " +
        NumberText(a.denominator_floor));
  }
  for (const auto& [key, field] :
       {std::pair{"lambda_index", &a.lambda_index}, {"lambda_width", &a.lambda_width}}) {
    *field = node[key].Number();
    if (*field < 0 || *field > 1) Bad(node[key].where + ": must lie in 0..1, got " + NumberText(*field));
  }
  a.taps = kTaps[a.stages.size() - 1];
  json taps = json::array();
  for (const Tap& tap : a.taps) taps.push_back({{"level", tap.level}, {"pool", tap.pool}});
  node["taps"].Exactly(taps);
  return a;
}

Interval ParseInterval(const Node& node) {
  if (node.value.is_null()) return {};
  const double coverage = node["coverage"].Number();
  if (!(coverage > 0 && coverage < 1)) {
    Bad("interval.coverage must lie between 0 and 1, got " + NumberText(coverage));
  }
  const Interval interval{node["edges"].Numbers(), node["half_widths"].Numbers()};
  const auto& [edges, widths] = interval;
  if (widths.size() != edges.size() + 1 || *std::min_element(widths.begin(), widths.end()) < 0 ||
      std::adjacent_find(edges.begin(), edges.end(), std::greater_equal<>()) != edges.end()) {
    Bad("interval: edges must rise, with one half-width (not negative) more than edges");
  }
  return interval;
}

// What ssr_bundle.recalibration allows.
constexpr size_t kLeastPoints = 2, kMostPoints = 64;
constexpr double kLeastStep = 1e-3, kSteepest = 4;

Recalibration ParseRecalibration(const json& root, const std::vector<double>& clip) {
  if (!root.contains("recalibration") || root["recalibration"].is_null()) return {};
  const Node node{root["recalibration"], "recalibration"};
  Recalibration map{node["before"].Numbers(), node["after"].Numbers()};
  const auto& [before, after] = map;
  const double low = clip[0], high = clip[1];
  bool rises = before.size() >= kLeastPoints && before.size() <= kMostPoints && before.front() == low &&
               before.back() == high;
  for (size_t i = 1; rises && i < before.size(); ++i) {
    rises = before[i] - before[i - 1] >= kLeastStep * (high - low);
  }
  if (!rises) {
    node["before"].Expected("2 to 64 numbers that rise from " + NumberText(low) + " to " + NumberText(high) +
                            ", by a thousandth of that at least");
  }
  bool follows = after.size() == before.size();
  for (size_t i = 0; follows && i < after.size(); ++i) {
    follows = after[i] >= low && after[i] <= high;
    if (follows && i > 0) {
      const double rise = after[i] - after[i - 1];
      follows = rise >= 0 && rise <= kSteepest * (before[i] - before[i - 1]);
    }
  }
  if (!follows) {
    node["after"].Expected(std::to_string(before.size()) + " numbers in " + NumberText(low) + ".." +
                           NumberText(high) + " that never fall, and rise at most 4 times as much as before");
  }
  return map;
}

}  // namespace

std::map<std::string, std::vector<int64_t>> ParameterShapes(const Architecture& a) {
  std::map<std::string, std::vector<int64_t>> shapes;
  const auto stream = [&](const char* letter, int width) {
    for (int block = 0; block < kBlocks; ++block) {
      const std::string prefix = std::string(letter) + "." + std::to_string(block);
      shapes[prefix + ".conv.weight"] = {width, block == 0 ? 3 : width, 3, 3};
      shapes[prefix + ".conv.bias"] = {width};
      for (const char* name : {"weight", "bias", "running_mean", "running_var"}) {
        shapes[prefix + ".norm." + name] = {width};
      }
    }
  };
  stream("x", a.width_x);
  stream("s", a.width_s);
  for (size_t k = 0; k < a.stages.size(); ++k) {
    const std::string prefix = "stages." + std::to_string(k) + ".";
    const int64_t side = MapSize(a.taps[k].level - 1) / a.taps[k].pool;
    const int64_t bins = a.stages[k], features = side * side * a.width_fusion;
    const auto layer = [&](const char* name, std::vector<int64_t> shape) {
      shapes[prefix + name + ".bias"] = {shape[0]};
      shapes[prefix + name + ".weight"] = std::move(shape);
    };
    layer("fuse_x", {a.width_fusion, a.width_x, 1, 1});
    layer("fuse_s", {a.width_fusion, a.width_s, 1, 1});
    layer("delta", {1, features});
    layer("bins_x", {bins, features});
    layer("bins_s", {bins, features});
    layer("mix", {2 * bins, bins});
    layer("p", {bins, 2 * bins});
    layer("eta", {bins, 2 * bins});
  }
  return shapes;
}

namespace {

constexpr double kSmallestRange = 1e-9, kLargestRange = 1e9, kLargestCorrection = 1e9;

// A range a channel, or one for all channels.
std::vector<double> ParseRange(const Node& node, int width) {
  const auto channels = static_cast<size_t>(width);
  const std::vector<double> ranges =
      node.value.is_array() ? node.Numbers() : std::vector<double>(channels, node.Number());
  if (ranges.size() != channels) {
    Bad(node.where + ": expected a number or " + std::to_string(width) + " of them, got " +
        std::to_string(ranges.size()));
  }
  for (const double value : ranges) {
    if (value < kSmallestRange || value > kLargestRange) {
      Bad(node.where + ": ranges must lie in 1e-9..1e9, got " + NumberText(value));
    }
  }
  return ranges;
}

// A convolution of the network: output channels, and weights that int8 has a direction of rounding for.
struct Layer {
  std::string name;
  size_t width, weights;
};

std::vector<Layer> Layers(const Architecture& a) {
  std::vector<Layer> layers;
  for (const auto& [name, shape] : ParameterShapes(a)) {
    if (shape.size() != 4) continue;
    const std::string layer = name.substr(0, std::min(name.find(".conv."), name.find(".weight")));
    const bool first = layer == "x.0" || layer == "s.0";
    const int64_t weights = first ? 0 : shape[0] * shape[1] * shape[2] * shape[3];
    layers.push_back({layer, static_cast<size_t>(shape[0]), static_cast<size_t>(weights)});
  }
  return layers;
}

std::vector<std::string> Names(const std::vector<Layer>& layers) {
  std::vector<std::string> names;
  for (const Layer& layer : layers) names.push_back(layer.name);
  return names;
}

std::map<std::string, std::vector<double>> ParseCorrection(const Node& node,
                                                           const std::vector<Layer>& layers) {
  std::map<std::string, std::vector<double>> corrections;
  node.Only(Names(layers));
  for (const Layer& layer : layers) {
    const Node found = node[layer.name];
    const std::vector<double> values = found.Numbers();
    if (values.size() != layer.width) {
      Bad(found.where + ": expected " + std::to_string(layer.width) + " numbers, got " +
          std::to_string(values.size()));
    }
    for (const double value : values) {
      if (std::fabs(value) > kLargestCorrection) {
        Bad(found.where + ": corrections must lie in -1e9..1e9, got " + NumberText(value));
      }
    }
    corrections[layer.name] = values;
  }
  return corrections;
}

// Hexadecimal digits of a bit a weight, the first the most significant, to whole bytes.
std::vector<bool> ParseBits(const Node& node, size_t count) {
  const std::string& text = node.String();
  const size_t digits = (count + 7) / 8 * 2, spare = digits * 4 - count;
  if (!IsHexadecimal(text, digits)) {
    Bad(node.where + ": expected " + std::to_string(digits) + " hexadecimal digits in lower case, got " +
        std::to_string(text.size()) + " characters");
  }
  std::vector<bool> bits(count);
  for (size_t i = 0; i < count; ++i) {
    const char digit = text[i / 4];
    const int value = digit <= '9' ? digit - '0' : digit - 'a' + 10;
    bits[i] = (value >> (3 - i % 4) & 1) != 0;
  }
  const int last = spare == 0 ? 0 : std::stoi(text.substr(digits - 2), nullptr, 16);
  if (last % (1 << spare) != 0) {
    Bad(node.where + ": the " + std::to_string(spare) + " bits after the last weight's must be 0");
  }
  return bits;
}

// What the record of the quantization says of its drift. The record is for readers: what is not there, or not
// as `ssr-train quantize` writes it, is not stated.
std::map<std::string, Drift> ReadDrift(const json& record) {
  std::map<std::string, Drift> stated;
  const auto member = [](const json& object, const char* key) {
    return object.is_object() && object.contains(key) ? object[key] : json();
  };
  for (const Precision precision : {Precision::kBf16, Precision::kInt8}) {
    const json sets = member(member(record, "drift"), PrecisionName(precision));
    const json held_out = member(sets, "held_out");
    const json drift = held_out.is_null() ? member(sets, "calibration") : held_out;
    const auto number = [&](const char* key) {
      const json value = member(drift, key);
      return value.is_number() ? value.get<double>() : std::numeric_limits<double>::infinity();
    };
    const Drift read = {number("mean"), number("signed"), number("p99"), number("max")};
    const double all = std::fabs(read.mean) + std::fabs(read.signed_mean) + std::fabs(read.p99) + read.max;
    if (std::isfinite(all)) stated[PrecisionName(precision)] = read;
  }
  return stated;
}

std::optional<Quantization> ParseQuantization(const Node& node, const Architecture& architecture) {
  if (node.value.is_null()) return {};
  Quantization parsed;
  const Node ranges = node["ranges"], corrections = node["bias_correction"], rounding = node["rounding"];
  ranges.Only({"x.0", "x.1", "x.2", "x.3"});
  corrections.Only({"bf16", "int8"});
  for (int block = 0; block < kBlocks; ++block) {
    parsed.ranges[block] = ParseRange(ranges["x." + std::to_string(block)], architecture.width_x);
  }
  std::vector<Layer> layers = Layers(architecture);
  parsed.int8 = ParseCorrection(corrections["int8"], layers);
  parsed.bf16 = ParseCorrection(corrections["bf16"], layers);
  if (!node["calibration"].value.is_object()) node["calibration"].Expected("an object");
  parsed.drift = ReadDrift(node["calibration"].value);
  if (rounding.value.is_null()) return parsed;
  layers.erase(std::remove_if(layers.begin(), layers.end(), [](const Layer& l) { return l.weights == 0; }),
               layers.end());
  rounding.Only(Names(layers));
  for (const Layer& layer : layers) {
    parsed.rounding[layer.name] = ParseBits(rounding[layer.name], layer.weights);
  }
  return parsed;
}

// Fills what ParseContract does; text: as `node` was parsed from.
void ParseRoot(const Node& node, const std::string& text, Model* model,
               std::map<std::string, FileEntry>* files) {
  if (node.value.is_object() && node.value.contains("kind")) {
    Bad("kind: this is the bundle of a " + Shown(node.value["kind"]) +
        ", expected the bundle of an SSR-Net, which has no kind");
  }
  const json& version = node["contract_version"].value;
  if (!version.is_number_integer() || (version != 1 && version != 2)) {
    Bad("contract_version " + Shown(version) + " is unknown, expected 1 or 2");
  }
  const std::string canonical = ParseInterface(node["interface"], MemberText(text, "interface"), model);
  const json interface = json::parse(canonical);
  model->recalibration = ParseRecalibration(node.value, interface["output"]["clip"]);
  const int of_crop = VersionOf(interface["crop"]);
  const int needed = model->recalibration.before.empty() ? of_crop : 2;
  if (version != needed) {
    Bad("contract_version " + version.dump() + ": this " +
        (needed == of_crop ? "interface.crop" : "recalibration") + " is one of version " +
        std::to_string(needed));
  }
  const std::string& stated = node["interface_sha256"].String();
  model->interface_sha256 = Sha256Hex(canonical.data(), canonical.size());
  if (stated != model->interface_sha256) {
    Bad("interface_sha256 is " + ShownText(stated) + ", but the interface hashes to " +
        model->interface_sha256);
  }
  model->name = ModelName(node["name"]);
  model->architecture = ParseArchitecture(node["architecture"]);
  model->quantization = ParseQuantization(node["quantization"], model->architecture);
  model->interval = ParseInterval(node["interval"]);
  model->synthetic = ParseProvenance(node["provenance"]);
  *files = ParseFiles(node["files"]);
}

}  // namespace

Status ParseContract(const std::string& text, Model* model, std::map<std::string, FileEntry>* files) {
  try {
    json root;
    SSR_RETURN_IF_ERROR(ParseJson(text, &root));
    ParseRoot({root, ""}, text, model, files);
    return {};
  } catch (const Fault& fault) {
    return {Code::kInvalidArgument, fault.what};
  }
}

}  // namespace ssr
