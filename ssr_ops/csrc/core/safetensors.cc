#include "core/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>
#include <vector>

#include "core/shown.h"
#include "core/strict_json.h"

namespace ssr {
namespace {

using nlohmann::json;

Status Bad(const std::string& what) { return {Code::kInvalidArgument, what}; }

bool ReadCount(const json& value, uint64_t* count) {
  if (!value.is_number_unsigned()) return false;
  *count = value.get<uint64_t>();
  return true;
}

constexpr uint64_t kMaxHeaderBytes = 16 << 20;

bool IsMetadata(const json& value) {
  return value.is_object() &&
         std::all_of(value.begin(), value.end(), [](const json& text) { return text.is_string(); });
}

struct Entry {
  std::string name;
  std::vector<int64_t> shape;
  uint64_t begin, end;
};

Status ParseEntry(const std::string& name, const json& fields, uint64_t data_size, Entry* entry) {
  if (!fields.is_object() || fields.size() != 3 || !fields.contains("dtype") || !fields.contains("shape") ||
      !fields.contains("data_offsets")) {
    return Bad("header entry '" + name + "' must have dtype, shape and data_offsets, and nothing else");
  }
  if (!fields["dtype"].is_string() || fields["dtype"] != "F32") {
    return Bad(name + " has dtype " + Shown(fields["dtype"]) + ", expected \"F32\"");
  }
  const json& shape = fields["shape"];
  const json& offsets = fields["data_offsets"];
  if (!shape.is_array() || shape.size() > 8) return Bad(name + ": shape " + Shown(shape) + " is not a shape");
  uint64_t count = 1;
  entry->name = name;
  for (const json& value : shape) {
    uint64_t size = 0;
    if (!ReadCount(value, &size) || (size != 0 && count > data_size / size)) {
      return Bad(name + ": shape " + Shown(shape) + " does not fit the file");
    }
    count *= size;
    entry->shape.push_back(static_cast<int64_t>(size));
  }
  if (!offsets.is_array() || offsets.size() != 2 || !ReadCount(offsets[0], &entry->begin) ||
      !ReadCount(offsets[1], &entry->end)) {
    return Bad(name + ": data_offsets " + Shown(offsets) + ", expected [begin, end]");
  }
  if (entry->begin > entry->end || entry->end > data_size) {
    return Bad(name + ": data_offsets " + Shown(offsets) + " lie outside the " + std::to_string(data_size) +
               " bytes of data");
  }
  if (entry->end - entry->begin != count * sizeof(float)) {
    return Bad(name + ": data_offsets " + Shown(offsets) + " hold " +
               std::to_string(entry->end - entry->begin) + " bytes, its shape needs " +
               std::to_string(count * sizeof(float)));
  }
  return {};
}

}  // namespace

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

Status ParseSafetensors(const std::string& bytes, std::map<std::string, Tensor>* tensors) {
  uint64_t header_size = 0;
  if (bytes.size() < 8) return Bad("not a safetensors file: shorter than its header length");
  for (int i = 7; i >= 0; --i) header_size = header_size << 8 | static_cast<uint8_t>(bytes[i]);
  if (header_size > std::min<uint64_t>(bytes.size() - 8, kMaxHeaderBytes)) {
    return Bad("not a safetensors file: a header of " + std::to_string(header_size) + " bytes in a file of " +
               std::to_string(bytes.size()) + ", expected at most " + std::to_string(kMaxHeaderBytes));
  }
  const char* const data = bytes.data() + 8 + header_size;
  if (header_size == 0 || bytes[8] != '{') {
    return Bad("not a safetensors file: the header is not a JSON object");
  }
  json header;
  const Status parsed = ParseJson({bytes.data() + 8, static_cast<size_t>(header_size)}, &header);
  if (!parsed.ok()) return Bad("not a safetensors file: its header: " + parsed.message());
  const uint64_t data_size = bytes.size() - 8 - header_size;
  std::vector<Entry> entries;
  for (const auto& [name, fields] : header.items()) {
    if (name == "__metadata__") {
      if (!IsMetadata(fields)) return Bad("__metadata__: expected texts by name, got " + Shown(fields));
      continue;
    }
    entries.emplace_back();
    SSR_RETURN_IF_ERROR(ParseEntry(ShownText(name), fields, data_size, &entries.back()));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != covered) {
      return Bad(entry.name + ": data_offsets begin at " + std::to_string(entry.begin) + ", expected " +
                 std::to_string(covered) + (entry.begin < covered ? ": overlapping tensors" : ": a hole"));
    }
    covered = entry.end;
    Tensor& tensor = (*tensors)[entry.name];
    tensor.shape = entry.shape;
    tensor.values.resize((entry.end - entry.begin) / sizeof(float));
    if (!tensor.values.empty()) {
      std::memcpy(tensor.values.data(), data + entry.begin, entry.end - entry.begin);
    }
  }
  if (covered != data_size) {
    return Bad(std::to_string(data_size - covered) + " bytes after the last tensor belong to nothing");
  }
  return {};
}

}  // namespace ssr
