#include "core/contract.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/json_text.h"
#include "ssr/params.h"
#include "ssr/sha256.h"

namespace ssr {
namespace {

using nlohmann::json;

Status Bad(const std::string& what) { return {Code::kInvalidArgument, what}; }

// A value and where it stands, so that every message can name the place.
struct Node {
  const json& value;
  std::string where;

  Status Get(const char* key, const json** found) const {
    if (!value.is_object()) return Bad(where + ": expected an object, got " + value.dump());
    const auto it = value.find(key);
    if (it == value.end()) return Bad(where + ": '" + key + "' is missing");
    *found = &*it;
    return {};
  }
  std::string At(const char* key) const { return where + "." + key; }
  Status Number(const char* key, double* out) const {
    const json* found = nullptr;
    SSR_RETURN_IF_ERROR(Get(key, &found));
    if (!found->is_number() || !std::isfinite(found->get<double>())) {
      return Bad(At(key) + ": expected a finite number, got " + found->dump());
    }
    *out = found->get<double>();
    return {};
  }
  Status Numbers(const char* key, std::vector<double>* out) const {
    const json* found = nullptr;
    SSR_RETURN_IF_ERROR(Get(key, &found));
    bool good = found->is_array();
    if (good) {
      for (const json& item : *found) {
        good = good && item.is_number() && std::isfinite(item.get<double>());
        if (good) out->push_back(item.get<double>());
      }
    }
    if (!good) return Bad(At(key) + ": expected a list of finite numbers, got " + found->dump());
    return {};
  }
  Status Integer(const char* key, int low, int high, int* out) const {
    const json* found = nullptr;
    SSR_RETURN_IF_ERROR(Get(key, &found));
    return CheckInteger(*found, At(key), low, high, out);
  }
  static Status CheckInteger(const json& value, const std::string& where, int low, int high, int* out) {
    if (!value.is_number_integer() || value.get<int64_t>() < low || value.get<int64_t>() > high) {
      return Bad(where + ": expected a whole number in " + std::to_string(low) + ".." + std::to_string(high) +
                 ", got " + value.dump());
    }
    *out = static_cast<int>(value.get<int64_t>());
    return {};
  }
  Status String(const char* key, std::string* out) const {
    const json* found = nullptr;
    SSR_RETURN_IF_ERROR(Get(key, &found));
    if (!found->is_string()) return Bad(At(key) + ": expected a string, got " + found->dump());
    *out = found->get<std::string>();
    return {};
  }
  // `key` must hold `expected`; numbers compare by value.
  Status Exactly(const char* key, const json& expected) const {
    const json* found = nullptr;
    SSR_RETURN_IF_ERROR(Get(key, &found));
    if (*found != expected) {
      return Bad(At(key) + ": " + found->dump() + " is not supported, expected " + expected.dump());
    }
    return {};
  }
  Status Choice(const char* key, const std::vector<std::string>& choices, std::string* out) const {
    SSR_RETURN_IF_ERROR(String(key, out));
    std::string names;
    for (const std::string& choice : choices) {
      if (*out == choice) return {};
      names += (names.empty() ? "" : ", ") + choice;
    }
    return Bad(At(key) + ": '" + *out + "' is unknown, expected one of " + names);
  }
};

bool IsAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// A letter or (if `digit_first`) a digit, then letters, digits and characters of `more`; at most 64.
bool IsName(const std::string& name, bool digit_first, const char* more) {
  if (name.empty() || name.size() > 64 || !IsAlnum(name[0])) return false;
  if (!digit_first && name[0] >= '0' && name[0] <= '9') return false;
  for (const char c : name) {
    if (!IsAlnum(c) && std::string(more).find(c) == std::string::npos) return false;
  }
  return true;
}

Status TensorName(const Node& node, std::string* name) {
  SSR_RETURN_IF_ERROR(node.String("name", name));
  if (!IsName(*name, false, "_")) return Bad(node.At("name") + ": '" + *name + "' cannot name a tensor");
  return {};
}

std::string Quoted(const std::string& text) { return json(text).dump(); }

// The text of the value of `key`: the last one, as parsers take it. text: valid JSON, an object.
std::string_view MemberText(std::string_view text, const char* key) {
  std::string_view found, token;
  bool inside = false;
  int depth = 0;
  size_t begin = 0;
  for (size_t at = 0, end = 0; at < text.size(); at = end) {
    end = JsonTokenEnd(text, at);
    if (depth == 1 && text[at] == '"') token = text.substr(at, end - at);
    if (depth == 1 && text[at] == ':') inside = json::parse(token) == key, begin = end;
    if (depth == 1 && inside && (text[at] == ',' || text[at] == '}')) {
      found = text.substr(begin, at - begin);
      inside = false;
    }
    depth += JsonDeeper(text[at]);
  }
  return found;
}

// The same JSON with every number as a string, so that its digits are kept. text: valid JSON.
json WithNumbersQuoted(std::string_view text) {
  std::string quoted;
  for (size_t at = 0, end = 0; at < text.size(); at = end) {
    end = JsonTokenEnd(text, at);
    const char* const quote = IsJsonNumber(text[at]) ? "\"" : "";
    quoted.append(quote).append(text.substr(at, end - at)).append(quote);
  }
  return json::parse(quoted);
}

// A float as Python's json writes it: the fewest digits that read back as the same number.
std::string FloatText(double value) {
  const double size = std::fabs(value);
  const bool fixed = size == 0 || (size >= 1e-4 && size < 1e16);
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value,
                                 fixed ? std::chars_format::fixed : std::chars_format::scientific);
  const std::string text(buffer, end.ptr);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string Pair(const std::vector<double>& values) {
  return "[" + FloatText(values[0]) + "," + FloatText(values[1]) + "]";
}

// Checks the interface, which stands in the contract as `text`, and writes its canonical JSON, which is what
// is hashed: sorted keys, no spaces, numbers as Python writes them (ssr_bundle.contract.canonical_json).
Status ParseInterface(const json& value, std::string_view text, Model* model, std::string* canonical) {
  const Node node{value, "interface"};
  const json *input_value = nullptr, *crop_value = nullptr, *output_value = nullptr;
  SSR_RETURN_IF_ERROR(node.Get("input", &input_value));
  SSR_RETURN_IF_ERROR(node.Get("crop", &crop_value));
  SSR_RETURN_IF_ERROR(node.Get("output", &output_value));

  const Node input{*input_value, "interface.input"};
  SSR_RETURN_IF_ERROR(input.Choice("colour", {"bgr", "rgb"}, &model->colour));
  SSR_RETURN_IF_ERROR(TensorName(input, &model->input_name));
  SSR_RETURN_IF_ERROR(input.Exactly("size", json::array({kImageSize, kImageSize})));
  SSR_RETURN_IF_ERROR(input.Exactly("channels", 3));
  SSR_RETURN_IF_ERROR(input.Exactly("dtype", "uint8"));
  SSR_RETURN_IF_ERROR(input.Exactly("layout", "nhwc"));
  SSR_RETURN_IF_ERROR(input.Exactly("scale", 1.0));

  const Node crop{*crop_value, "interface.crop"};
  std::string box, rounding, border, interpolation, alignment;
  std::vector<double> margin;
  SSR_RETURN_IF_ERROR(crop.Numbers("margin", &margin));
  if (margin.size() != 2 || margin[0] < 0 || margin[0] > 4 || margin[1] < 0 || margin[1] > 4) {
    return Bad("interface.crop.margin: expected two numbers in 0..4, got " + crop.value["margin"].dump());
  }
  SSR_RETURN_IF_ERROR(crop.Choice("box", {"yunet", "haar"}, &box));
  SSR_RETURN_IF_ERROR(crop.Choice("rounding", {"floor-inclusive"}, &rounding));
  SSR_RETURN_IF_ERROR(crop.Choice("border", {"clip"}, &border));
  SSR_RETURN_IF_ERROR(crop.Choice("interpolation", {"bilinear"}, &interpolation));
  SSR_RETURN_IF_ERROR(crop.Choice("alignment", {"none"}, &alignment));

  const Node output{*output_value, "interface.output"};
  std::vector<double> clip;
  std::string unit;
  SSR_RETURN_IF_ERROR(output.Numbers("clip", &clip));
  if (clip.size() != 2 || !Representable<float>(clip[0]) || !Representable<float>(clip[1]) ||
      !(static_cast<float>(clip[0]) < static_cast<float>(clip[1]))) {
    return Bad("interface.output.clip: expected two rising numbers of float32, got " +
               output.value["clip"].dump());
  }
  SSR_RETURN_IF_ERROR(TensorName(output, &model->output_name));
  SSR_RETURN_IF_ERROR(output.String("unit", &unit));
  model->clip_low = static_cast<float>(clip[0]);
  model->clip_high = static_cast<float>(clip[1]);

  *canonical = "{\"crop\":{\"alignment\":" + Quoted(alignment) + ",\"border\":" + Quoted(border) +
               ",\"box\":" + Quoted(box) + ",\"interpolation\":" + Quoted(interpolation) +
               ",\"margin\":" + Pair(margin) + ",\"rounding\":" + Quoted(rounding) +
               "},\"input\":{\"channels\":3,\"colour\":" + Quoted(model->colour) +
               ",\"dtype\":\"uint8\",\"layout\":\"nhwc\",\"name\":" + Quoted(model->input_name) +
               ",\"scale\":1.0,\"size\":[64,64]},\"output\":{\"clip\":" + Pair(clip) +
               ",\"name\":" + Quoted(model->output_name) + ",\"unit\":" + Quoted(unit) + "}}";
  if (WithNumbersQuoted(text) != WithNumbersQuoted(*canonical)) {
    return Bad("interface: expected exactly " + *canonical +
               " (no other keys, numbers written the same way)");
  }
  return {};
}

std::vector<Tap> TapsFor(size_t stages) {
  switch (stages) {
    case 1:
      return {{4, 1}};
    case 2:
      return {{4, 1}, {2, 4}};
    case 3:
      return {{4, 1}, {2, 4}, {1, 8}};
    default:
      return {{4, 1}, {3, 2}, {2, 4}, {1, 8}};
  }
}

Status ParseArchitecture(const json& value, Architecture* a) {
  const Node node{value, "architecture"};
  const json *stages = nullptr, *widths_value = nullptr;
  SSR_RETURN_IF_ERROR(node.Get("stages", &stages));
  if (!stages->is_array()) return Bad("architecture.stages: expected a list, got " + stages->dump());
  if (stages->empty() || stages->size() > kBlocks) {
    return Bad("architecture: " + std::to_string(stages->size()) +
               " stages; this network has levels for 1 to 4");
  }
  for (const json& item : *stages) {
    a->stages.push_back(0);
    SSR_RETURN_IF_ERROR(Node::CheckInteger(item, "architecture.stages", 1, 256, &a->stages.back()));
  }
  SSR_RETURN_IF_ERROR(node.Get("widths", &widths_value));
  const Node widths{*widths_value, "architecture.widths"};
  SSR_RETURN_IF_ERROR(widths.Integer("x", 1, 512, &a->width_x));
  SSR_RETURN_IF_ERROR(widths.Integer("s", 1, 512, &a->width_s));
  SSR_RETURN_IF_ERROR(widths.Integer("fusion", 1, 512, &a->width_fusion));
  for (const auto& [key, field] : {std::pair{"value_range", &a->value_range},
                                   {"denominator_floor", &a->denominator_floor},
                                   {"batch_norm_epsilon", &a->batch_norm_epsilon}}) {
    SSR_RETURN_IF_ERROR(node.Number(key, field));
    if (!(*field > 0)) return Bad(node.At(key) + ": must be positive, got " + NumberText(*field));
  }
  if (a->denominator_floor < kSmallestFloor) {
    return Bad(node.At("denominator_floor") + ": must be at least " + NumberText(kSmallestFloor) + ", got " +
               NumberText(a->denominator_floor));
  }
  for (const auto& [key, field] :
       {std::pair{"lambda_index", &a->lambda_index}, {"lambda_width", &a->lambda_width}}) {
    SSR_RETURN_IF_ERROR(node.Number(key, field));
    if (!(*field >= 0 && *field <= 1))
      return Bad(node.At(key) + ": must lie in 0..1, got " + NumberText(*field));
  }
  a->taps = TapsFor(a->stages.size());
  json taps = json::array();
  for (const Tap& tap : a->taps) taps.push_back({{"level", tap.level}, {"pool", tap.pool}});
  return node.Exactly("taps", taps);
}

Status ParseInterval(const json& value, Interval* interval) {
  if (value.is_null()) return {};
  const Node node{value, "interval"};
  double coverage = 0;
  SSR_RETURN_IF_ERROR(node.Number("coverage", &coverage));
  if (!(coverage > 0 && coverage < 1)) {
    return Bad("interval.coverage must lie between 0 and 1, got " + NumberText(coverage));
  }
  SSR_RETURN_IF_ERROR(node.Numbers("edges", &interval->edges));
  SSR_RETURN_IF_ERROR(node.Numbers("half_widths", &interval->half_widths));
  bool good = interval->half_widths.size() == interval->edges.size() + 1;
  for (size_t i = 1; i < interval->edges.size(); ++i)
    good = good && interval->edges[i - 1] < interval->edges[i];
  for (const double width : interval->half_widths) good = good && width >= 0;
  if (!good) {
    return Bad("interval: edges must rise, with one half-width (not negative) more than edges");
  }
  return {};
}

bool IsSha256(const json& value) {
  if (!value.is_string() || value.get_ref<const std::string&>().size() != 64) return false;
  return value.get_ref<const std::string&>().find_first_not_of("0123456789abcdef") == std::string::npos;
}

Status ParseFiles(const json& value, std::map<std::string, FileEntry>* files) {
  if (!value.is_object()) return Bad("files: expected an object, got " + value.dump());
  for (const auto& [name, item] : value.items()) {
    if (name.empty() || name[0] == '.' || name.find_first_of("/\\") != std::string::npos ||
        name.find('\0') != std::string::npos) {
      return Bad("files: " + Quoted(name) + " is not a plain file name");
    }
    const Node node{item, "files." + name};
    const json *hash = nullptr, *bytes = nullptr;
    SSR_RETURN_IF_ERROR(node.Get("sha256", &hash));
    SSR_RETURN_IF_ERROR(node.Get("bytes", &bytes));
    if (!IsSha256(*hash)) {
      return Bad(node.At("sha256") + ": expected 64 hexadecimal digits, got " + hash->dump());
    }
    if (!bytes->is_number_unsigned())
      return Bad(node.At("bytes") + ": expected a size, got " + bytes->dump());
    (*files)[name] = {hash->get<std::string>(), bytes->get<uint64_t>()};
  }
  return {};
}

}  // namespace

std::string NumberText(double value) {
  return std::isfinite(value) ? json(value).dump() : std::to_string(value);
}

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
Status ParseRange(const Node& ranges, const char* key, int width, std::vector<double>* out) {
  const json* found = nullptr;
  SSR_RETURN_IF_ERROR(ranges.Get(key, &found));
  if (found->is_array()) {
    SSR_RETURN_IF_ERROR(ranges.Numbers(key, out));
  } else {
    double one = 0;
    SSR_RETURN_IF_ERROR(ranges.Number(key, &one));
    out->assign(static_cast<size_t>(width), one);
  }
  if (out->size() != static_cast<size_t>(width)) {
    return Bad(ranges.At(key) + ": expected a number or " + std::to_string(width) + " of them, got " +
               std::to_string(out->size()));
  }
  for (const double value : *out) {
    if (value < kSmallestRange || value > kLargestRange) {
      return Bad(ranges.At(key) + ": ranges must lie in 1e-9..1e9, got " + NumberText(value));
    }
  }
  return {};
}

// A convolution of the network: output channels, and weights that int8 has a direction of rounding for.
struct Layer {
  std::string name;
  int width;
  int64_t weights;
};

std::vector<Layer> Layers(const Architecture& a) {
  std::vector<Layer> layers;
  for (int block = 0; block < kBlocks; ++block) {
    for (const auto& [letter, width] : {std::pair{"x.", a.width_x}, {"s.", a.width_s}}) {
      layers.push_back({letter + std::to_string(block), width, block > 0 ? int64_t{9} * width * width : 0});
    }
  }
  for (size_t k = 0; k < a.stages.size(); ++k) {
    for (const auto& [name, width] : {std::pair{".fuse_x", a.width_x}, {".fuse_s", a.width_s}}) {
      layers.push_back(
          {"stages." + std::to_string(k) + name, a.width_fusion, int64_t{a.width_fusion} * width});
    }
  }
  return layers;
}

Status ParseCorrection(const Node& node, const Architecture& a,
                       std::map<std::string, std::vector<double>>* out) {
  for (const auto& [name, width, weights] : Layers(a)) {
    std::vector<double>& values = (*out)[name];
    SSR_RETURN_IF_ERROR(node.Numbers(name.c_str(), &values));
    if (values.size() != static_cast<size_t>(width)) {
      return Bad(node.At(name.c_str()) + ": expected " + std::to_string(width) + " numbers, got " +
                 std::to_string(values.size()));
    }
    for (const double value : values) {
      if (std::fabs(value) > kLargestCorrection) {
        return Bad(node.At(name.c_str()) + ": corrections must lie in -1e9..1e9, got " + NumberText(value));
      }
    }
  }
  return {};
}

// Hexadecimal digits of a bit a weight, the first the most significant, to whole bytes.
Status ParseBits(const Node& node, const std::string& name, int64_t count, std::vector<bool>* bits) {
  std::string text;
  SSR_RETURN_IF_ERROR(node.String(name.c_str(), &text));
  const auto expected = static_cast<size_t>((count + 7) / 8 * 2);
  if (text.size() != expected || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return Bad(node.At(name.c_str()) + ": expected " + std::to_string(expected) +
               " hexadecimal digits in lower case, got " + std::to_string(text.size()) + " characters");
  }
  for (int64_t i = 0; i < count; ++i) {
    const char digit = text[static_cast<size_t>(i / 4)];
    const int value = digit <= '9' ? digit - '0' : digit - 'a' + 10;
    bits->push_back((value >> (3 - i % 4) & 1) != 0);
  }
  return {};
}

Status ParseRounding(const json& value, const std::string& where, const Architecture& a,
                     std::map<std::string, std::vector<bool>>* out) {
  if (value.is_null()) return {};
  for (const auto& [name, width, weights] : Layers(a)) {
    if (weights > 0) SSR_RETURN_IF_ERROR(ParseBits({value, where}, name, weights, &(*out)[name]));
  }
  return {};
}

Status ParseQuantization(const json& value, const Architecture& architecture,
                         std::optional<Quantization>* out) {
  if (value.is_null()) return {};
  const Node node{value, "quantization"};
  const json *ranges = nullptr, *corrections = nullptr, *int8 = nullptr, *bf16 = nullptr;
  const json* rounding = nullptr;
  SSR_RETURN_IF_ERROR(node.Get("ranges", &ranges));
  SSR_RETURN_IF_ERROR(node.Get("bias_correction", &corrections));
  Quantization parsed;
  const Node by_block{*ranges, node.At("ranges")};
  for (int block = 0; block < kBlocks; ++block) {
    const std::string name = "x." + std::to_string(block);
    SSR_RETURN_IF_ERROR(ParseRange(by_block, name.c_str(), architecture.width_x, &parsed.ranges[block]));
  }
  const Node by_precision{*corrections, node.At("bias_correction")};
  SSR_RETURN_IF_ERROR(by_precision.Get("int8", &int8));
  SSR_RETURN_IF_ERROR(by_precision.Get("bf16", &bf16));
  SSR_RETURN_IF_ERROR(ParseCorrection({*int8, by_precision.At("int8")}, architecture, &parsed.int8));
  SSR_RETURN_IF_ERROR(ParseCorrection({*bf16, by_precision.At("bf16")}, architecture, &parsed.bf16));
  SSR_RETURN_IF_ERROR(node.Get("rounding", &rounding));
  SSR_RETURN_IF_ERROR(ParseRounding(*rounding, node.At("rounding"), architecture, &parsed.rounding));
  *out = std::move(parsed);
  return {};
}

}  // namespace

Status ParseContract(const std::string& text, Model* model, std::map<std::string, FileEntry>* files) {
  if (NestsTooDeep(text)) return Bad("nested more than " + std::to_string(kMaxJsonDepth) + " deep");
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return Bad("not JSON");
  const Node node{root, "contract"};
  const json* found = nullptr;
  SSR_RETURN_IF_ERROR(node.Get("contract_version", &found));
  if (*found != kContractVersion || found->is_boolean()) {
    return Bad("contract_version " + found->dump() + " is unknown, this version reads " +
               std::to_string(kContractVersion));
  }
  SSR_RETURN_IF_ERROR(node.Get("interface", &found));
  std::string canonical, stated;
  SSR_RETURN_IF_ERROR(ParseInterface(*found, MemberText(text, "interface"), model, &canonical));
  SSR_RETURN_IF_ERROR(node.String("interface_sha256", &stated));
  model->interface_sha256 = Sha256Hex(canonical.data(), canonical.size());
  if (stated != model->interface_sha256) {
    return Bad("interface_sha256 is " + stated + ", but the interface hashes to " + model->interface_sha256);
  }
  SSR_RETURN_IF_ERROR(node.String("name", &model->name));
  if (!IsName(model->name, true, "_.-")) {
    return Bad("name: " + Quoted(model->name) +
               " cannot name a model, expected letters, digits, '_', '.', '-' (at most 64)");
  }
  SSR_RETURN_IF_ERROR(node.Get("architecture", &found));
  SSR_RETURN_IF_ERROR(ParseArchitecture(*found, &model->architecture));
  SSR_RETURN_IF_ERROR(node.Get("quantization", &found));
  SSR_RETURN_IF_ERROR(ParseQuantization(*found, model->architecture, &model->quantization));
  SSR_RETURN_IF_ERROR(node.Get("interval", &found));
  SSR_RETURN_IF_ERROR(ParseInterval(*found, &model->interval));
  SSR_RETURN_IF_ERROR(node.Get("provenance", &found));
  if (!found->is_object()) return Bad("provenance: expected an object, got " + found->dump());
  const auto synthetic = found->find("synthetic");
  model->synthetic = synthetic != found->end() && synthetic->is_boolean() && synthetic->get<bool>();
  SSR_RETURN_IF_ERROR(node.Get("files", &found));
  return ParseFiles(*found, files);
}

}  // namespace ssr
