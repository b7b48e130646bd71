#include "core/bundle_fields.h"

#include <algorithm>
#include <set>

#include "core/shown.h"

namespace ssr {
namespace {

using nlohmann::json;

bool IsFinite(const json& value) { return value.is_number() && std::isfinite(value.get<double>()); }

bool IsAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// Printable ASCII that stays in its folder and is not hidden.
bool IsFileName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return c >= ' ' && c <= '~' && c != '/' && c != '\\'; });
}

// Keys of the provenance that commands read as text, as ssr_bundle.contract._TEXTS.
const std::set<std::string> kTexts = {
    "command",       "data",  "data_name",     "data_sha256", "initial_weights_sha256",
    "labels_sha256", "leak",  "licence",       "protocol",    "source",
    "source_sha256", "split", "training_data", "weights"};

}  // namespace

Node Node::operator[](const std::string& key) const {
  const std::string name = where.empty() ? "contract" : where;
  if (!value.is_object()) Bad(name + ": expected an object, got " + Shown(value));
  const auto it = value.find(key);
  if (it == value.end()) Bad(name + ": '" + key + "' is missing");
  return {*it, where.empty() ? key : where + "." + key};
}

void Node::Expected(const std::string& what) const {
  Bad(where + ": expected " + what + ", got " + Shown(value));
}

double Node::Number() const {
  if (!IsFinite(value)) Expected("a finite number");
  return value.get<double>();
}

std::vector<double> Node::Numbers() const {
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), IsFinite)) {
    Expected("a list of finite numbers");
  }
  return value.get<std::vector<double>>();
}

int Node::Integer(int low, int high) const {
  if (!value.is_number_integer() || value.get<int64_t>() < low || value.get<int64_t>() > high) {
    Expected("a whole number in " + std::to_string(low) + ".." + std::to_string(high));
  }
  return value.get<int>();
}

const std::string& Node::String() const {
  if (!value.is_string()) Expected("a string");
  return value.get_ref<const std::string&>();
}

void Node::Exactly(const json& expected) const {
  if (value.dump() != expected.dump()) {
    Bad(where + ": " + Shown(value) + " is not supported, expected " + expected.dump());
  }
}

const std::string& Node::Choice(const std::vector<std::string>& choices) const {
  std::string names;
  for (const std::string& choice : choices) {
    if (String() == choice) return String();
    names += (names.empty() ? "" : ", ") + choice;
  }
  Bad(where + ": '" + ShownText(String()) + "' is unknown, expected one of " + names);
}

void Node::Only(const std::vector<std::string>& names) const {
  if (!value.is_object()) Expected("an object");
  for (const auto& entry : value.items()) {
    if (std::find(names.begin(), names.end(), entry.key()) == names.end()) {
      Bad(where + "." + ShownText(entry.key()) + ": is not this network's");
    }
  }
}

bool IsName(const std::string& name, bool digit_first, const char* more) {
  if (name.empty() || name.size() > 64 || !IsAlnum(name[0])) return false;
  if (!digit_first && name[0] >= '0' && name[0] <= '9') return false;
  for (const char c : name) {
    if (!IsAlnum(c) && std::string(more).find(c) == std::string::npos) return false;
  }
  return true;
}

const std::string& ModelName(const Node& node) {
  const std::string& name = node.String();
  if (IsName(name, true, "_.-")) return name;
  Bad("name: " + Shown(json(name)) +
      " cannot name a model, expected letters, digits, '_', '.', '-' (at most 64)");
}

bool IsHexadecimal(const std::string& text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::map<std::string, FileEntry> ParseFiles(const Node& node) {
  if (!node.value.is_object()) node.Expected("an object");
  std::map<std::string, FileEntry> files;
  int64_t total = 0;
  for (const auto& [name, item] : node.value.items()) {
    if (!IsFileName(name)) Bad("files: " + Shown(json(name)) + " is not a plain file name");
    const Node file = node[name], hash = file["sha256"], bytes = file["bytes"];
    if (!hash.value.is_string() || !IsHexadecimal(hash.String(), 64)) hash.Expected("64 hexadecimal digits");
    if (!bytes.value.is_number_integer() || bytes.value.get<int64_t>() < 0 ||
        bytes.value.get<int64_t>() > kMaxFilesBytes) {
      bytes.Expected("a size of at most " + std::to_string(kMaxFilesBytes));
    }
    files[name] = {hash.String(), bytes.value.get<uint64_t>()};
    total += bytes.value.get<int64_t>();
    if (total > kMaxFilesBytes) {
      Bad("files: more than " + std::to_string(kMaxFilesBytes) + " bytes together");
    }
  }
  return files;
}

bool ParseProvenance(const Node& node) {
  if (!node.value.is_object()) node.Expected("an object");
  for (const auto& [key, value] : node.value.items()) {
    const Node found{value, "provenance." + key};
    if (value.is_null()) continue;
    if (kTexts.count(key) != 0) found.String();
    if (key == "metrics" && !value.is_object()) found.Expected("an object");
    if (key == "synthetic" && !value.is_boolean()) found.Expected("true or false");
  }
  return node.value.value("synthetic", json()) == json(true);
}

std::string NumberText(double value) {
  return std::isfinite(value) ? json(value).dump() : std::to_string(value);
}

}  // namespace ssr
