// Reads the safetensors format: u64 header length, JSON header, data without holes or overlaps.
#pragma once

#include <map>
#include <string>

#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr {

// Every tensor of the file whose whole content is `bytes`. Only float32 is accepted. Messages do not
// name the file.
Status ParseSafetensors(const std::string& bytes, std::map<std::string, Tensor>* tensors);

std::string ShapeText(const std::vector<int64_t>& shape);

}  // namespace ssr
