// contract.json, parsed and checked as ssr_bundle.contract does.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr {

// What the files of a bundle may have together: no file is read that could not be a bundle's.
constexpr int64_t kMaxFilesBytes = int64_t{1} << 30;

struct FileEntry {
  std::string sha256;
  uint64_t bytes;
};

// Fills every field of `model` but the parameters and weights_sha256. Messages do not name the file.
Status ParseContract(const std::string& text, Model* model, std::map<std::string, FileEntry>* files);

// Name and shape of every stored array, as ssr_bundle.contract.Architecture.parameter_shapes.
std::map<std::string, std::vector<int64_t>> ParameterShapes(const Architecture& architecture);

// Whether converting `value` to T gives a finite number.
template <typename T>
bool Representable(double value) {
  return std::isfinite(value) && std::fabs(value) <= std::numeric_limits<T>::max();
}

// A number for a message.
std::string NumberText(double value);

}  // namespace ssr
