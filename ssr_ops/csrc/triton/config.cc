#include "triton/config.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "ssr/sha256.h"

namespace ssr::triton {
namespace {

using Json = nlohmann::json;
using Parameters = std::map<std::string, std::string>;

Status Wrong(const std::string& message) { return {Code::kInvalidArgument, message}; }

template <typename Names>
std::string Join(const Names& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

std::string DimsText(const std::vector<int64_t>& dims) {
  std::vector<std::string> parts;
  for (const int64_t dim : dims) parts.push_back(std::to_string(dim));
  return "[" + Join(parts) + "]";
}

const Json& Get(const Json& block, const char* key) {
  static const Json none;
  const auto found = block.find(key);
  return found == block.end() ? none : *found;
}

std::string Text(const Json& value) { return value.is_string() ? value.get<std::string>() : ""; }

// Protobuf's JSON writes 64-bit numbers as strings; the server turns them back, not in every version.
std::vector<int64_t> Dims(const Json& tensor) {
  std::vector<int64_t> dims;
  for (const Json& dim : Get(tensor, "dims")) {
    dims.push_back(dim.is_string() ? std::stoll(dim.get<std::string>()) : dim.get<int64_t>());
  }
  return dims;
}

Status ReadParameters(const Json& config, Parameters* parameters) {
  static const std::vector<std::string> known = {
      "detector_sha256", "interface", "interface_sha256", "max_boxes", "max_frame_pixels",
      "max_queue",       "mode",      "precision",        "threads"};
  for (const auto& [key, value] : Get(config, "parameters").items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Wrong("parameter '" + key + "' is unknown, expected " + Join(known));
    }
    (*parameters)[key] = Text(Get(value, "string_value"));
  }
  return {};
}

Status CheckInterface(const Parameters& parameters, const Model& model) {
  for (const char* key : {"interface", "interface_sha256"}) {
    if (parameters.count(key) == 0 || parameters.at(key).empty()) {
      return Wrong(std::string("parameter ") + key + " is missing, build the configuration with ssr-serve");
    }
  }
  const std::string& stated = parameters.at("interface_sha256");
  const std::string& interface = parameters.at("interface");
  const std::string hash = Sha256Hex(interface.data(), interface.size());
  if (hash != stated) {
    return Wrong("parameter interface hashes to " + hash + ", but interface_sha256 is " + stated);
  }
  if (stated != model.interface_sha256) {
    return Wrong("interface_sha256 of the configuration is " + stated + ", of the bundle " +
                 model.interface_sha256 + ": another interface is another model name");
  }
  return {};
}

// A whole number in 1..`most`; 0 where the parameter is not set.
Status ReadWhole(const Parameters& parameters, const char* key, int64_t most, int64_t* value) {
  const auto found = parameters.find(key);
  if (found == parameters.end()) return {};
  const std::string& text = found->second;
  const bool digits =
      !text.empty() && text.size() <= 12 && text.find_first_not_of("0123456789") == std::string::npos;
  *value = digits ? std::stoll(text) : 0;
  if (*value >= 1 && *value <= most) return {};
  return Wrong(std::string("parameter ") + key + ": '" + text + "', expected a whole number in 1.." +
               std::to_string(most));
}

Status ReadThreads(const Parameters& parameters, int* threads) {
  int64_t value = 1;
  SSR_RETURN_IF_ERROR(ReadWhole(parameters, "threads", kMaxThreads, &value));
  *threads = static_cast<int>(value);
  return {};
}

Status ReadLimits(const Parameters& parameters, const Mode& mode, FrameLimits* limits) {
  for (const auto& [key, most, value] :
       {std::tuple{"max_frame_pixels", int64_t{1} << 30, &limits->frame_pixels},
        {"max_boxes", 1 << 20, &limits->boxes},
        {"max_queue", 1 << 20, &limits->queue}}) {
    SSR_RETURN_IF_ERROR(ReadWhole(parameters, key, most, value));
    if (mode.batched && *value != 0) return Wrong(std::string("parameter ") + key + " belongs to mode frame");
    if (!mode.batched && *value == 0) {
      return Wrong(std::string("parameter ") + key + " is missing, build the configuration with ssr-serve");
    }
  }
  return {};
}

Status ReadDetector(const Parameters& parameters, const Mode& mode, std::string* detector) {
  const auto found = parameters.find("detector_sha256");
  if (found != parameters.end()) *detector = found->second;
  if (mode.batched && !detector->empty()) return Wrong("parameter detector_sha256 belongs to mode frame");
  if (!mode.batched && detector->empty()) {
    return Wrong("parameter detector_sha256 is missing, build the configuration with ssr-serve");
  }
  return {};
}

// Settings that would change what reaches the backend or what it must answer, answer in its place, or name
// other weights than it serves.
Status CheckNothingElse(const Json& config, const Mode& mode) {
  const Json& batch = Get(config, "max_batch_size");
  const int64_t max_batch = batch.is_number_integer() ? batch.get<int64_t>() : 0;
  if (mode.batched ? max_batch < 1 : max_batch != 0) {
    return Wrong("max_batch_size is " + std::to_string(max_batch) + ", expected " +
                 (mode.batched ? "at least 1" : "0 in mode frame"));
  }
  for (const char* key : {"sequence_batching", "batch_input", "batch_output"}) {
    const Json& block = Get(config, key);
    if (!block.is_null() && !block.empty()) return Wrong(std::string(key) + " is not supported");
  }
  if (!mode.batched && !Get(config, "dynamic_batching").is_null()) {
    return Wrong("dynamic_batching is not supported in mode frame");
  }
  if (Get(Get(config, "model_transaction_policy"), "decoupled") == Json(true)) {
    return Wrong("model_transaction_policy: decoupled is not supported");
  }
  if (Get(Get(config, "response_cache"), "enable") == Json(true)) {
    return Wrong(
        "response_cache is not supported: a cached answer names no weights, and checks no interface_sha256");
  }
  for (const char* key : {"default_model_filename", "cc_model_filenames"}) {
    const Json& named = Get(config, key);
    if (!named.is_null() && !named.empty() && named != Json("")) {
      return Wrong(std::string(key) + " is not supported: what serves is the bundle in the version's folder");
    }
  }
  for (const Json& group : Get(config, "instance_group")) {
    // tritonserver 2.51 ends at the first request to a model that has no other instance.
    if (Get(group, "passive") == Json(true)) return Wrong("instance_group: passive is not supported");
  }
  return {};
}

// Dims, type and the rest of one declared input or output.
Status CheckTensor(const Json& tensor, const std::string& what, const std::string& type,
                   const std::vector<int64_t>& dims, bool optional = false) {
  if (Text(Get(tensor, "data_type")) != type) {
    return Wrong(what + " has data_type " + Text(Get(tensor, "data_type")) + ", expected " + type);
  }
  if (Dims(tensor) != dims) {
    return Wrong(what + " has dims " + DimsText(Dims(tensor)) + ", expected " + DimsText(dims));
  }
  const Json& reshape = Get(tensor, "reshape");
  if (!reshape.is_null() && !reshape.empty()) return Wrong(what + ": reshape is not supported");
  if ((Get(tensor, "optional") == Json(true)) != optional) {
    return Wrong(what + (optional ? ": expected it to be optional" : ": optional is not supported"));
  }
  for (const char* key : {"is_shape_tensor", "allow_ragged_batch", "is_non_linear_format_io"}) {
    if (Get(tensor, key) == Json(true)) return Wrong(what + ": " + key + " is not supported");
  }
  return {};
}

Status CheckInputs(const Json& config, const Mode& mode) {
  std::vector<std::string> expected;
  for (const InputSpec& spec : mode.inputs) expected.push_back(spec.name);
  const Json& inputs = Get(config, "input");
  for (const Json& input : inputs) {
    const std::string name = Text(Get(input, "name"));
    const auto spec = std::find_if(mode.inputs.begin(), mode.inputs.end(),
                                   [&](const InputSpec& s) { return s.name == name; });
    if (spec == mode.inputs.end()) {
      return Wrong("input '" + name + "' is unknown, expected " + Join(expected));
    }
    SSR_RETURN_IF_ERROR(
        CheckTensor(input, "input '" + name + "'", spec->data_type, spec->dims, spec->optional));
  }
  if (inputs.size() != mode.inputs.size()) {
    return Wrong("the configuration declares " + std::to_string(inputs.size()) + " inputs, expected " +
                 Join(expected));
  }
  return {};
}

// Leaves in the mode the outputs that the configuration declares.
Status KeepDeclaredOutputs(const Json& config, const Model& model, Mode* mode) {
  std::vector<std::string> expected;
  for (const OutputSpec& spec : mode->outputs) expected.push_back(spec.name);
  const std::string answer = expected.front();
  std::vector<std::string> declared;
  for (const Json& output : Get(config, "output")) {
    const std::string name = Text(Get(output, "name"));
    const auto spec = std::find_if(mode->outputs.begin(), mode->outputs.end(),
                                   [&](const OutputSpec& s) { return s.name == name; });
    if (spec == mode->outputs.end()) {
      const bool interval = name == model.output_name + "_interval";
      return Wrong("output '" + name + "' is unknown, expected one of " + Join(expected) +
                   (interval ? ": the bundle is not calibrated" : ""));
    }
    SSR_RETURN_IF_ERROR(CheckTensor(output, "output '" + name + "'", "TYPE_FP32", spec->dims));
    declared.push_back(name);
  }
  const auto is_declared = [&](const std::string& name) {
    return std::find(declared.begin(), declared.end(), name) != declared.end();
  };
  if (!is_declared(answer)) return Wrong("output '" + answer + "' is not declared");
  mode->outputs.erase(std::remove_if(mode->outputs.begin(), mode->outputs.end(),
                                     [&](const OutputSpec& s) { return !is_declared(s.name); }),
                      mode->outputs.end());
  return {};
}

Status Parse(const Json& json, const Model& model, Config* config) {
  Parameters parameters;
  SSR_RETURN_IF_ERROR(ReadParameters(json, &parameters));
  SSR_RETURN_IF_ERROR(CheckInterface(parameters, model));
  SSR_RETURN_IF_ERROR(ReadThreads(parameters, &config->threads));
  if (parameters.count("precision") != 0) config->precision = parameters["precision"];
  const std::string mode = parameters.count("mode") != 0 ? parameters["mode"] : "crops";
  SSR_RETURN_IF_ERROR(FindMode(mode, model, &config->mode));
  SSR_RETURN_IF_ERROR(ReadLimits(parameters, config->mode, &config->limits));
  SSR_RETURN_IF_ERROR(ReadDetector(parameters, config->mode, &config->detector));
  SSR_RETURN_IF_ERROR(CheckNothingElse(json, config->mode));
  SSR_RETURN_IF_ERROR(CheckInputs(json, config->mode));
  return KeepDeclaredOutputs(json, model, &config->mode);
}

}  // namespace

Status ParseConfig(const std::string& json, const Model& model, Config* config) {
  try {
    return Parse(Json::parse(json), model, config);
  } catch (const std::exception& error) {
    return {Code::kInternal,
            std::string("the server's form of the configuration is not readable: ") + error.what()};
  }
}

}  // namespace ssr::triton
