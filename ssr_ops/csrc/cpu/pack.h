// What every CPU kernel's packing shares: padded arrays and the dense layers of a stage.
#pragma once

#include <vector>

#include "core/aligned.h"
#include "cpu/network.h"
#include "ssr/model.h"

namespace ssr::cpu {

// Owns zero-filled arrays on a cache line's border.
class PackStorage {
 public:
  float* Floats(int64_t count);
  const float* Padded(const std::vector<float>& values);  // to kChannelPad

 private:
  std::vector<AlignedFloats> arrays_;
};

// Everything of stage k but its fusion block.
StageWeights PackStage(const Model& model, int k, PackStorage* storage);

}  // namespace ssr::cpu
