#include "ssr/model.h"

#include <exception>
#include <new>

#include "core/bundle_files.h"
#include "core/contract.h"
#include "ssr/sha256.h"

namespace ssr {
namespace {

Status LoadUnguarded(const std::string& folder, std::shared_ptr<const Model>* model) {
  auto loaded = std::make_shared<Model>();
  const auto parse = [&](const std::string& text, std::map<std::string, FileEntry>* files) {
    loaded->contract_sha256 = Sha256Hex(text.data(), text.size());
    return ParseContract(text, loaded.get(), files);
  };
  const auto shapes = [&] { return ParameterShapes(loaded->architecture); };
  SSR_RETURN_IF_ERROR(ReadBundle(folder, parse, shapes, &loaded->parameters, &loaded->weights_sha256));
  *model = std::move(loaded);
  return {};
}

}  // namespace

Status Model::Load(const std::string& folder, std::shared_ptr<const Model>* model) {
  try {
    return LoadUnguarded(folder, model);
  } catch (const std::bad_alloc&) {
    return {Code::kInternal, folder + ": too little memory to load it"};
  } catch (const std::exception& error) {
    return {Code::kInternal, folder + ": loading failed: " + error.what()};
  }
}

}  // namespace ssr
