// The files of a bundle's folder, read only as its contract pins them.
#pragma once

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "core/bundle_fields.h"
#include "ssr/model.h"
#include "ssr/sha256.h"
#include "ssr/status.h"

namespace ssr {

using Shapes = std::map<std::string, std::vector<int64_t>>;

// Reads <folder>/contract.json, which `parse` checks, then every file that it lists, by size and hash, then
// the parameters of model.safetensors, which must have the names and shapes that `shapes` then tells, and be
// finite.
Status ReadBundle(const std::string& folder,
                  const std::function<Status(const std::string&, std::map<std::string, FileEntry>*)>& parse,
                  const std::function<Shapes()>& shapes, std::map<std::string, Tensor>* parameters,
                  std::string* weights_sha256);

// The model in the bundle `folder`, all of it or none; nothing is thrown. `parse` takes the contract's text,
// the model and the files; `shapes_of` takes the model that was parsed.
template <class Loaded, class Parse, class ShapesOf>
Status LoadBundle(const std::string& folder, const Parse& parse, const ShapesOf& shapes_of,
                  std::shared_ptr<const Loaded>* model) {
  try {
    auto loaded = std::make_shared<Loaded>();
    const auto parse_loaded = [&](const std::string& text, std::map<std::string, FileEntry>* files) {
      loaded->contract_sha256 = Sha256Hex(text.data(), text.size());
      return parse(text, loaded.get(), files);
    };
    const auto shapes = [&] { return shapes_of(*loaded); };
    SSR_RETURN_IF_ERROR(
        ReadBundle(folder, parse_loaded, shapes, &loaded->parameters, &loaded->weights_sha256));
    *model = std::move(loaded);
    return {};
  } catch (const std::bad_alloc&) {
    return {Code::kInternal, folder + ": too little memory to load it"};
  } catch (const std::exception& error) {
    return {Code::kInternal, folder + ": loading failed: " + error.what()};
  }
}

}  // namespace ssr
