#include "ssr/model.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <exception>
#include <fstream>

#include "core/contract.h"
#include "core/safetensors.h"
#include "ssr/sha256.h"

namespace ssr {
namespace {

constexpr char kContractFile[] = "contract.json";
constexpr char kModelFile[] = "model.safetensors";

Status ReadFile(const std::string& path, std::string* bytes) {
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    const int error = errno;
    return {error == ENOENT || error == ENOTDIR ? Code::kNotFound : Code::kInvalidArgument,
            path + ": " + (error != 0 ? std::strerror(error) : "cannot be opened")};
  }
  char buffer[1 << 14];
  do {
    stream.read(buffer, sizeof(buffer));
    bytes->append(buffer, static_cast<size_t>(stream.gcount()));
  } while (stream);
  if (stream.bad()) return {Code::kInvalidArgument, path + ": cannot be read, expected a file"};
  return {};
}

// The file's content, if it is what the contract pins.
Status ReadPinned(const std::string& path, const FileEntry& entry, std::string* bytes) {
  const Status read = ReadFile(path, bytes);
  if (read.code() == Code::kNotFound) {
    return {Code::kNotFound, path + ": missing, but the contract lists it"};
  }
  SSR_RETURN_IF_ERROR(read);
  if (bytes->size() != entry.bytes) {
    return {Code::kInvalidArgument, path + ": " + std::to_string(bytes->size()) +
                                        " bytes, the contract says " + std::to_string(entry.bytes) +
                                        ": truncated or altered"};
  }
  const std::string hash = Sha256Hex(bytes->data(), bytes->size());
  if (hash != entry.sha256) {
    return {Code::kInvalidArgument,
            path + ": sha256 " + hash + ", the contract says " + entry.sha256 + ": altered"};
  }
  return {};
}

Status CheckParameters(const Model& model) {
  const auto expected = ParameterShapes(model.architecture);
  const auto bad = [](const std::string& what) { return Status(Code::kInvalidArgument, what); };
  for (const auto& [name, shape] : expected) {
    const auto it = model.parameters.find(name);
    if (it == model.parameters.end()) return bad(name + " is missing");
    if (it->second.shape != shape) {
      return bad(name + " has shape " + ShapeText(it->second.shape) + ", expected " + ShapeText(shape));
    }
    const bool variance = name.size() > 11 && name.compare(name.size() - 11, 11, "running_var") == 0;
    for (const float value : it->second.values) {
      if (!std::isfinite(value)) return bad(name + " holds NaN or infinite values");
      if (variance && value < 0) return bad(name + " holds a negative variance");
    }
  }
  for (const auto& entry : model.parameters) {
    if (expected.count(entry.first) == 0) return bad(entry.first + " does not belong to this network");
  }
  return {};
}

Status LoadUnguarded(const std::string& folder, std::shared_ptr<const Model>* model) {
  auto loaded = std::make_shared<Model>();
  std::string contract_text;
  const std::string contract_path = folder + "/" + kContractFile;
  const Status read = ReadFile(contract_path, &contract_text);
  if (read.code() == Code::kNotFound) {
    return {Code::kNotFound, folder + ": no " + kContractFile + " in it, expected a bundle folder"};
  }
  SSR_RETURN_IF_ERROR(read);
  std::map<std::string, FileEntry> files;
  const Status contract = ParseContract(contract_text, loaded.get(), &files);
  if (!contract.ok()) return {contract.code(), contract_path + ": " + contract.message()};
  if (files.count(kModelFile) == 0) {
    return {Code::kInvalidArgument, contract_path + ": files: " + kModelFile + " is not listed"};
  }
  std::string weights;
  for (const auto& [name, entry] : files) {
    std::string bytes;
    SSR_RETURN_IF_ERROR(ReadPinned(folder + "/" + name, entry, &bytes));
    if (name == kModelFile) weights = std::move(bytes);
  }
  loaded->weights_sha256 = files[kModelFile].sha256;
  Status parsed = ParseSafetensors(weights, &loaded->parameters);
  if (parsed.ok()) parsed = CheckParameters(*loaded);
  if (!parsed.ok()) return {parsed.code(), folder + "/" + kModelFile + ": " + parsed.message()};
  *model = std::move(loaded);
  return {};
}

}  // namespace

Status Model::Load(const std::string& folder, std::shared_ptr<const Model>* model) {
  try {
    return LoadUnguarded(folder, model);
  } catch (const std::exception& error) {
    return {Code::kInternal, folder + ": loading failed: " + error.what()};
  }
}

}  // namespace ssr
