#include "ssr/model.h"

#include "core/bundle_files.h"
#include "core/contract.h"

namespace ssr {

Status Model::Load(const std::string& folder, std::shared_ptr<const Model>* model) {
  const auto shapes_of = [](const Model& parsed) { return ParameterShapes(parsed.architecture); };
  return LoadBundle(folder, ParseContract, shapes_of, model);
}

}  // namespace ssr
