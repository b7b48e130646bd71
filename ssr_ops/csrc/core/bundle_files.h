// The files of a bundle's folder, read only as its contract pins them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/bundle_fields.h"
#include "ssr/model.h"
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

}  // namespace ssr
