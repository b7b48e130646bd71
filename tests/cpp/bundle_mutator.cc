#include "bundle_mutator.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/contract.h"
#include "core_testing.h"

namespace fuzz {
namespace {

using nlohmann::json;

size_t Below(Random* random, size_t count) { return count == 0 ? 0 : (*random)() % count; }
bool Chance(Random* random, int percent) { return Below(random, 100) < static_cast<size_t>(percent); }

template <typename T, size_t kCount>
const T& Pick(Random* random, const T (&items)[kCount]) {
  return items[Below(random, kCount)];
}

std::string ReadAll(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  CHECK(stream.good());
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Numbers that break things, as JSON text.
constexpr const char* kNumbers[] = {"0",
                                    "-0.0",
                                    "-1",
                                    "1",
                                    "2",
                                    "0.5",
                                    "1e-320",
                                    "1e-30",
                                    "1e-10",
                                    "1e10",
                                    "1e19",
                                    "1e36",
                                    "3.5e38",
                                    "1e300",
                                    "-1e300",
                                    "1e999",
                                    "255",
                                    "256",
                                    "512",
                                    "513",
                                    "65536",
                                    "2147483647",
                                    "2147483648",
                                    "4294967296",
                                    "9223372036854775807",
                                    "-9223372036854775808",
                                    "9223372036854775808",
                                    "18446744073709551615",
                                    "18446744073709551616",
                                    "00",
                                    "1.",
                                    "NaN",
                                    "0.1000000000000000055511151231257827"};

constexpr const char* kValues[] = {
    "null", "true", "\"\"",      "\"bgr\"",      "\"rgb\"", "\"a\\u0000b\"",       "\"\\ud83d\\ude00\"",
    "[]",   "{}",   "[[[[1]]]]", "{\"a\":null}", "[1,2,3]", "\"../contract.json\""};

bool DeepText(const std::string& text) {
  int depth = 0, most = 0;
  for (const char c : text) {
    if (c == '[' || c == '{') most = std::max(most, ++depth);
    if (c == ']' || c == '}') --depth;
  }
  return most > 64;
}

// A random node, the whole excluded: down from the top, stopping now and then. Null if there is none.
json* PickNode(Random* random, json* value, json** parent) {
  json* found = nullptr;
  while (value->is_structured() && !value->empty()) {
    *parent = value;
    value = &*std::next(value->begin(), static_cast<std::ptrdiff_t>(Below(random, value->size())));
    found = value;
    if (Chance(random, 20)) break;
  }
  return found;
}

json AnyValue(Random* random) {
  const char* text = Chance(random, 60) ? Pick(random, kNumbers) : Pick(random, kValues);
  json value = json::parse(text, nullptr, false);
  return value.is_discarded() ? json(1e308) : value;
}

void Tweak(Random* random, json* value) {
  if (value->is_number_integer() && Chance(random, 70)) {
    *value = value->get<int64_t>() + (Chance(random, 50) ? 1 : -1);
  } else if (value->is_number()) {
    constexpr double kFactors[] = {-1, 0.5, 2, 10, 1e-3, 1e10, 1e-10, 1e30};
    *value = value->get<double>() * Pick(random, kFactors);
  } else if (value->is_string()) {
    std::string text = *value;
    if (text.empty() || Chance(random, 50)) text += static_cast<char>('0' + Below(random, 70));
    text[Below(random, text.size())] = static_cast<char>(' ' + Below(random, 90));
    *value = text;
  } else {
    *value = AnyValue(random);
  }
}

void MutateTree(Random* random, const std::string& other_text, std::string* text) {
  json tree = json::parse(*text, nullptr, false);
  json other = json::parse(DeepText(other_text) ? "[]" : other_text, nullptr, false);
  if (!tree.is_structured()) return;
  json *parent = nullptr, *unused = nullptr;
  json* node = PickNode(random, &tree, &parent);
  if (node == nullptr) return;
  json* second = PickNode(random, &tree, &unused);
  json* foreign = other.is_structured() ? PickNode(random, &other, &unused) : nullptr;
  switch (Below(random, 9)) {
    case 0:
      *node = AnyValue(random);
      break;
    case 1:
    case 2:
      Tweak(random, node);
      break;
    case 3: {
      const json copy = *second;
      *node = copy;
      break;
    }
    case 4:
      if (foreign != nullptr) *node = *foreign;
      break;
    case 5:  // a key or an item less
      for (auto it = parent->begin(); it != parent->end(); ++it) {
        if (&*it == node) {
          parent->erase(it);
          break;
        }
      }
      break;
    case 6:  // a key or an item more
      if (parent->is_array()) {
        const json copy = *node;
        parent->push_back(copy);
      } else {
        (*parent)["k" + std::to_string(Below(random, 9))] = AnyValue(random);
      }
      break;
    case 7:  // two swapped
      if (!node->is_structured() && !second->is_structured()) node->swap(*second);
      break;
    default:  // a key renamed
      if (parent->is_object()) {
        for (auto it = parent->begin(); it != parent->end(); ++it) {
          if (&*it == node) {
            const std::string key = it.key();
            const json copy = *node;
            parent->erase(it);
            (*parent)[Chance(random, 50) ? key + "x" : key.substr(0, key.size() / 2)] = copy;
            break;
          }
        }
      }
  }
  *text = tree.dump(-1, ' ', false, json::error_handler_t::ignore);
}

// Deep brackets in place of the value after the first colon from `at` on.
void Nest(Random* random, size_t at, std::string* text) {
  constexpr size_t kDeep[] = {8, 31, 32, 33, 1000, 300000};
  const size_t depth = Pick(random, kDeep), colon = text->find(':', at);
  if (colon == std::string::npos) return;
  const bool lists = Chance(random, 70), closed = Chance(random, 80);
  std::string nest;
  for (size_t i = 0; i < depth; ++i) nest += lists ? "[" : "{\"a\":";
  nest += '1';
  if (closed) nest += std::string(depth, lists ? ']' : '}');
  const size_t end = std::min(text->find_first_of(",}", colon), text->size());
  text->replace(colon + 1, end - colon - 1, nest);
}

void MutateText(Random* random, const std::string& other, std::string* text) {
  if (text->empty()) text->push_back('{');
  const size_t at = Below(random, text->size());
  const size_t length = Below(random, std::min<size_t>(text->size() - at, 64) + 1);
  switch (Below(random, 10)) {
    case 0:
      (*text)[at] = static_cast<char>((*text)[at] ^ 1 << Below(random, 8));
      break;
    case 1:
      text->resize(at);
      break;
    case 2:
      text->erase(at, length);
      break;
    case 3:
      text->insert(Below(random, text->size()), text->substr(at, length));
      break;
    case 4:
      text->replace(at, length, other.substr(Below(random, other.size()), length + 1));
      break;
    case 5: {  // a number elsewhere
      const size_t begin = text->find_first_of("0123456789", at);
      if (begin == std::string::npos) break;
      const size_t end = std::min(text->find_first_not_of("0123456789.eE+-", begin), text->size());
      text->replace(begin, end - begin, Pick(random, kNumbers));
      break;
    }
    case 6:
      Nest(random, at, text);
      break;
    case 7: {  // a member twice
      const size_t begin = text->find('"', at), end = text->find(',', at);
      if (begin == std::string::npos || end == std::string::npos || begin >= end) break;
      text->insert(end, "," + text->substr(begin, end - begin));
      break;
    }
    case 8: {
      constexpr const char* kBytes[] = {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xef\xbb\xbf",
                                        "\\u",  "\\ud800",  "\n",           "\x7f"};
      text->insert(at, Pick(random, kBytes));
      break;
    }
    default:  // many digits
      text->insert(at, std::string(1 + Below(random, 400), static_cast<char>('0' + Below(random, 10))));
  }
}

void MutateJson(Random* random, const std::string& other, std::string* text) {
  if (Chance(random, 65) && !DeepText(*text)) {
    MutateTree(random, other, text);
  } else {
    MutateText(random, other, text);
  }
}

// model.safetensors as its three parts.
struct Weights {
  std::string header, data;
};

bool Split(const std::string& bytes, Weights* weights) {
  if (bytes.size() < 8) return false;
  uint64_t size = 0;
  std::memcpy(&size, bytes.data(), 8);
  if (size > bytes.size() - 8) return false;
  *weights = {bytes.substr(8, size), bytes.substr(8 + size)};
  return true;
}

std::string Join(const Weights& weights, uint64_t header_size) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &header_size, 8);
  return bytes + weights.header + weights.data;
}

float AnyFloat(Random* random) {
  constexpr float kFloats[] = {0.0f,  -0.0f,  1.0f,    -1.0f, 1e-45f,  1e-38f,   1e-20f,
                               1e10f, 1e18f,  -1e18f,  1e30f, 3.4e38f, -3.4e38f, HUGE_VALF,
                               NAN,   -1e10f, 1000.0f, 1e-7f, -1e-38f};
  return Pick(random, kFloats);
}

void MutateWeights(Random* random, const Input& other, Input* input) {
  Weights weights, foreign;
  if (!Split(input->model, &weights) || !Split(other.model, &foreign) || Chance(random, 5)) {
    input->model.resize(Below(random, input->model.size() + 1));
    return;
  }
  uint64_t lie = 0;
  const size_t floats = weights.data.size() / 4;
  switch (Below(random, 9)) {
    case 0: {
      constexpr uint64_t kLies[] = {1, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 32, 8, ~uint64_t{6}};
      lie = Pick(random, kLies);
      break;
    }
    case 1:
    case 2:
    case 3:
      MutateJson(random, foreign.header, &weights.header);
      break;
    case 4:
      weights.data.resize(Below(random, weights.data.size() + 9));
      break;
    case 5:
      Nest(random, Below(random, weights.header.size() + 1), &weights.header);
      break;
    case 6:
      if (!weights.data.empty()) weights.data[Below(random, weights.data.size())] ^= 1 << Below(random, 8);
      break;
    default:
      for (size_t i = 0, count = 1 + Below(random, 3); floats > 0 && i < count; ++i) {
        const float value = AnyFloat(random);
        std::memcpy(weights.data.data() + 4 * Below(random, floats), &value, 4);
      }
  }
  input->model = Join(weights, weights.header.size() + lie);
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// A bit a weight, in hexadecimal, whole bytes.
json FittingRounding(Random* random, const ssr::Architecture& a) {
  json layers = json::object();
  const auto layer = [&](const std::string& name, int count) {
    std::string digits;
    while (digits.size() < static_cast<size_t>((count + 7) / 8 * 2))
      digits += "0123456789abcdef"[Below(random, 16)];
    if (count % 8 != 0) digits.replace(digits.size() - 2, 2, "00");  // bits after the last weight's must be 0
    layers[name] = digits;
  };
  for (int block = 1; block < ssr::kBlocks; ++block) {
    layer("x." + std::to_string(block), 9 * a.width_x * a.width_x);
    layer("s." + std::to_string(block), 9 * a.width_s * a.width_s);
  }
  for (size_t k = 0; k < a.stages.size(); ++k) {
    layer("stages." + std::to_string(k) + ".fuse_x", a.width_fusion * a.width_x);
    layer("stages." + std::to_string(k) + ".fuse_s", a.width_fusion * a.width_s);
  }
  return layers;
}

json FittingQuantization(Random* random, const ssr::Architecture& a) {
  constexpr double kSizes[] = {1, 1, 1, 8, 1e-4, 1e-20, 1e20, 1e6};
  const auto list = [&](int width, double size, bool positive) {
    json values = json::array();
    std::normal_distribution<double> normal(0, size);
    for (int i = 0; i < width; ++i) {
      const double value = normal(*random);
      values.push_back(positive ? std::fabs(value) + 1e-3 * size : value);
    }
    return values;
  };
  json ranges = json::object(), corrections = json::object();
  for (int block = 0; block < ssr::kBlocks; ++block) {
    const double size = Pick(random, kSizes);
    ranges["x." + std::to_string(block)] =
        Chance(random, 50) ? json(size) : list(a.width_x, std::max(size, 1e-16), true);
  }
  for (const char* precision : {"int8", "bf16"}) {
    json layers = json::object();
    const double size = Chance(random, 80) ? 0.1 : Pick(random, kSizes);
    for (int block = 0; block < ssr::kBlocks; ++block) {
      layers["x." + std::to_string(block)] = list(a.width_x, size, false);
      layers["s." + std::to_string(block)] = list(a.width_s, size, false);
    }
    for (size_t k = 0; k < a.stages.size(); ++k) {
      for (const char* name : {"fuse_x", "fuse_s"}) {
        layers["stages." + std::to_string(k) + "." + name] = list(a.width_fusion, size, false);
      }
    }
    corrections[precision] = layers;
  }
  return {{"ranges", ranges},
          {"bias_correction", corrections},
          {"calibration", json::object()},
          {"rounding", Chance(random, 50) ? json(nullptr) : FittingRounding(random, a)}};
}

}  // namespace

Input ReadSeed(const std::string& folder) {
  json contract = json::parse(ReadAll(folder + "/contract.json"));
  contract["interface_sha256"] = kHash;
  contract["files"] = {{"model.safetensors", {{"sha256", kHash}, {"bytes", std::stoull(kSize)}}},
                       {"golden.safetensors", {{"sha256", kHash}, {"bytes", 0}}}};
  return {contract.dump(), ReadAll(folder + "/model.safetensors")};
}

void Refit(Random* random, Input* input) {
  if (DeepText(input->contract)) return;
  json contract = json::parse(input->contract, nullptr, false);
  if (!contract.is_object()) return;
  contract["quantization"] = nullptr;
  ssr::Model model;
  std::map<std::string, ssr::FileEntry> files;
  if (!ssr::ParseContract(contract.dump(-1, ' ', false, json::error_handler_t::ignore), &model, &files)
           .ok()) {
    return;
  }
  const auto shapes = ssr::ParameterShapes(model.architecture);
  int64_t floats = 0;
  for (const auto& named : shapes) {
    int64_t count = 1;
    for (const int64_t side : named.second) count *= side;
    floats += count;
  }
  if (floats > 60000) return;
  constexpr float kSizes[] = {0.1f, 0.1f, 0.1f, 0.1f, 1e-3f, 1.0f, 1e-20f, 30.0f, 1e9f};
  const float usual = Pick(random, kSizes);
  json header = json::object();
  std::string data;
  for (const auto& [name, shape] : shapes) {
    int64_t count = 1;
    for (const int64_t side : shape) count *= side;
    const size_t begin = data.size();
    std::normal_distribution<float> normal(0, Chance(random, 97) ? usual : Pick(random, kSizes));
    for (int64_t i = 0; i < count; ++i) {
      const float value = normal(*random), stored = EndsWith(name, "running_var") ? std::fabs(value) : value;
      data.append(reinterpret_cast<const char*>(&stored), 4);
    }
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  }
  const Weights weights{header.dump(), data};
  input->model = Join(weights, weights.header.size());
  if (Chance(random, 70)) contract["quantization"] = FittingQuantization(random, model.architecture);
  input->contract = contract.dump();
}

void Mutate(Random* random, const Input& other, Input* input) {
  if (Chance(random, 5)) {  // a size or a hash that is not the file's, or a file that is not there
    const char* part = Chance(random, 50) ? kSize : Chance(random, 50) ? kHash : "model.safetensors";
    const size_t at = input->contract.rfind(part);
    if (at != std::string::npos) input->contract[at + 1] = '1';
  } else if (Chance(random, 45)) {
    MutateJson(random, other.contract, &input->contract);
  } else {
    MutateWeights(random, other, input);
  }
  if (Chance(random, 20)) Refit(random, input);
}

}  // namespace fuzz
