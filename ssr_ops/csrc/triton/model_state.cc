#include "triton/model_state.h"

namespace ssr::triton {
namespace {

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
  const std::string folder = std::string(location) + "/" + std::to_string(loaded->version);
  if (Error error = MakeError(Model::Load(folder, &loaded->model), loaded->Where())) return error;
  std::string json;
  if (Error error = ConfigJson(handle, &json)) return error;
  const Status status = ParseConfig(json, *loaded->model, &loaded->config);
  if (Error error = MakeError(status, loaded->Where())) return error;
  *state = std::move(loaded);
  return nullptr;
}

}  // namespace ssr::triton
