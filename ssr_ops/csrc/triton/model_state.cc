#include "triton/model_state.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "ssr/shared.h"

namespace ssr::triton {
namespace {

constexpr char kDetectorFolder[] = "detector";

// Loads what is in `folder`, or takes what another model holds of the same content.
template <typename Content>
Status LoadShared(const std::string& folder, std::shared_ptr<const Content>* content) {
  static auto* const held = new Shared<std::string, const Content>;  // outlives every model
  std::shared_ptr<const Content> loaded;
  SSR_RETURN_IF_ERROR(Content::Load(folder, &loaded));
  *content = held->Get(loaded->contract_sha256, [&] { return std::move(loaded); });
  return {};
}

// A model without a detector has no such folder; boxes come with every request then.
Status LoadDetector(const std::string& folder, std::shared_ptr<const DetectorModel>* detector) {
  struct stat found;
  if (lstat(folder.c_str(), &found) != 0 && errno == ENOENT) return {};
  return LoadShared(folder, detector);
}

struct MessageDeleter {
  void operator()(TRITONSERVER_Message* message) const {
    LogIfError(TRITONSERVER_MessageDelete(message), "message");
  }
};

Error ConfigJson(TRITONBACKEND_Model* handle, std::string* json) {
  TRITONSERVER_Message* message = nullptr;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelConfig(handle, 1, &message));
  const std::unique_ptr<TRITONSERVER_Message, MessageDeleter> owned(message);
  const char* base = nullptr;
  size_t size = 0;
  SSR_RETURN_IF_TRITON_ERROR(TRITONSERVER_MessageSerializeToJson(message, &base, &size));
  json->assign(base, size);
  return nullptr;
}

}  // namespace

Error LoadModel(TRITONBACKEND_Model* handle, std::unique_ptr<ModelState>* state) {
  auto loaded = std::make_unique<ModelState>();
  const char* name = nullptr;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelName(handle, &name));
  loaded->name = name;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelVersion(handle, &loaded->version));
  TRITONBACKEND_ArtifactType type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  const char* location = nullptr;
  SSR_RETURN_IF_TRITON_ERROR(TRITONBACKEND_ModelRepository(handle, &type, &location));
  if (type != TRITONBACKEND_ARTIFACT_FILESYSTEM) {
    return MakeError(TRITONSERVER_ERROR_UNSUPPORTED, loaded->Where() + "expected a repository of files");
  }
  const std::string of_model = std::string(location) + "/";
  const std::string folder = of_model + std::to_string(loaded->version);
  if (Error error = MakeError(LoadShared(folder, &loaded->model), loaded->Where())) return error;
  std::string json;
  if (Error error = ConfigJson(handle, &json)) return error;
  const Status status = ParseConfig(json, *loaded->model, &loaded->config);
  if (Error error = MakeError(status, loaded->Where())) return error;
  if (!loaded->config.mode.batched) {
    const Status found = LoadDetector(of_model + kDetectorFolder, &loaded->detector);
    if (Error error = MakeError(found, loaded->Where())) return error;
    const std::string sha256 = loaded->detector == nullptr ? "none" : loaded->detector->weights_sha256;
    if (sha256 != loaded->config.detector) {
      return MakeError(TRITONSERVER_ERROR_INVALID_ARG,
                       loaded->Where() + "the detector's weights are " + sha256 +
                           ", the configuration says detector_sha256 " + loaded->config.detector);
    }
  }
  *state = std::move(loaded);
  return nullptr;
}

}  // namespace ssr::triton
