#include "core/bundle_files.h"

#include <cmath>

#include "core/regular_file.h"
#include "core/safetensors.h"
#include "ssr/sha256.h"

namespace ssr {
namespace {

constexpr char kContractFile[] = "contract.json";
constexpr char kModelFile[] = "model.safetensors", kGoldenFile[] = "golden.safetensors";

// contract.json may have this many bytes: four times what the widest network's quantization takes.
constexpr uint64_t kMaxContractBytes = 16 << 20;
constexpr size_t kBlockBytes = 1 << 20;

Status ReadContract(const std::string& path, std::string* text) {
  RegularFile file;
  SSR_RETURN_IF_ERROR(file.Open(path));
  if (file.size() > kMaxContractBytes) {
    return {Code::kInvalidArgument, path + ": " + std::to_string(file.size()) + " bytes, expected at most " +
                                        std::to_string(kMaxContractBytes)};
  }
  text->resize(file.size() + 1);
  size_t read = 0;
  SSR_RETURN_IF_ERROR(file.Read(text->data(), text->size(), &read));
  if (read != file.size()) return {Code::kInvalidArgument, path + ": changed while it was read"};
  text->resize(read);
  return {};
}

// Checks that the file is what the contract pins; its content goes to `bytes` if given.
Status ReadPinned(const std::string& path, const FileEntry& entry, std::string* bytes) {
  RegularFile file;
  const Status opened = file.Open(path);
  if (opened.code() == Code::kNotFound) {
    return {Code::kNotFound, path + ": missing, but the contract lists it"};
  }
  SSR_RETURN_IF_ERROR(opened);
  uint64_t size = file.size();
  Sha256 hash;
  if (size == entry.bytes) {
    std::string block(kBlockBytes, 0);
    if (bytes != nullptr) bytes->reserve(size);
    size_t read = 0;
    size = 0;
    do {
      SSR_RETURN_IF_ERROR(file.Read(block.data(), block.size(), &read));
      hash.Update(block.data(), read);
      if (bytes != nullptr) bytes->append(block, 0, read);
      size += read;
    } while (read == block.size() && size <= entry.bytes);
  }
  if (size != entry.bytes) {
    return {Code::kInvalidArgument, path + ": " + std::to_string(size) + " bytes, the contract says " +
                                        std::to_string(entry.bytes) + ": truncated or altered"};
  }
  const std::string found = hash.Hex();
  if (found != entry.sha256) {
    return {Code::kInvalidArgument,
            path + ": sha256 " + found + ", the contract says " + entry.sha256 + ": altered"};
  }
  return {};
}

Status CheckParameters(const std::map<std::string, Tensor>& parameters, const Shapes& expected) {
  const auto bad = [](const std::string& what) { return Status(Code::kInvalidArgument, what); };
  for (const auto& [name, shape] : expected) {
    const auto it = parameters.find(name);
    if (it == parameters.end()) return bad(name + " is missing");
    if (it->second.shape != shape) {
      return bad(name + " has shape " + ShapeText(it->second.shape) + ", expected " + ShapeText(shape));
    }
    const bool variance = name.size() > 11 && name.compare(name.size() - 11, 11, "running_var") == 0;
    for (const float value : it->second.values) {
      if (!std::isfinite(value)) return bad(name + " holds NaN or infinite values");
      if (variance && value < 0) return bad(name + " holds a negative variance");
    }
  }
  for (const auto& entry : parameters) {
    if (expected.count(entry.first) == 0) return bad(entry.first + " does not belong to this network");
  }
  return {};
}

}  // namespace

Status ReadBundle(const std::string& folder,
                  const std::function<Status(const std::string&, std::map<std::string, FileEntry>*)>& parse,
                  const std::function<Shapes()>& shapes, std::map<std::string, Tensor>* parameters,
                  std::string* weights_sha256) {
  std::string contract_text;
  const std::string contract_path = folder + "/" + kContractFile;
  const Status read = ReadContract(contract_path, &contract_text);
  if (read.code() == Code::kNotFound) {
    return {Code::kNotFound, folder + ": no " + kContractFile + " in it, expected a bundle folder"};
  }
  SSR_RETURN_IF_ERROR(read);
  std::map<std::string, FileEntry> files;
  const Status contract = parse(contract_text, &files);
  if (!contract.ok()) return {contract.code(), contract_path + ": " + contract.message()};
  for (const char* required : {kModelFile, kGoldenFile}) {
    if (files.count(required) == 0) {
      return {Code::kInvalidArgument, contract_path + ": files: " + required + " is not listed"};
    }
  }
  std::string weights;
  for (const auto& [name, entry] : files) {
    SSR_RETURN_IF_ERROR(ReadPinned(folder + "/" + name, entry, name == kModelFile ? &weights : nullptr));
  }
  *weights_sha256 = files[kModelFile].sha256;
  Status parsed = ParseSafetensors(weights, parameters);
  if (parsed.ok()) parsed = CheckParameters(*parameters, shapes());
  if (!parsed.ok()) return {parsed.code(), folder + "/" + kModelFile + ": " + parsed.message()};
  return {};
}

}  // namespace ssr
