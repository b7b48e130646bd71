// contract.json, parsed and checked as ssr_bundle.contract does.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/bundle_fields.h"
#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr {

// Fills every field of `model` but the parameters and weights_sha256. Messages do not name the file.
Status ParseContract(const std::string& text, Model* model, std::map<std::string, FileEntry>* files);

// Name and shape of every stored array, as ssr_bundle.contract.Architecture.parameter_shapes.
std::map<std::string, std::vector<int64_t>> ParameterShapes(const Architecture& architecture);

}  // namespace ssr
