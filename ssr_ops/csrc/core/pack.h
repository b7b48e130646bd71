// Packs a model's parameters: padded arrays, the dense layers of a stage, and the float32 network.
#pragma once

#include <vector>

#include "core/aligned.h"
#include "core/fold.h"
#include "core/weights.h"
#include "ssr/implementation.h"
#include "ssr/model.h"

namespace ssr {

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

class PackedNetwork {
 public:
  // precision: fp32, or bf16: its weights in fp32's arithmetic, for processors without bf16's.
  // transformed: as the CPU's kernels read the convolutions; else plain, as the GPU does.
  PackedNetwork(const Model& model, Precision precision, bool transformed = true);

  const NetworkWeights& weights() const { return weights_; }

 private:
  Convolution PackConvolution(const FoldedConvolution& folded, char stream, int block, bool transformed);
  const float* PackFusion(const FoldedConvolution& fusion, int width);

  PackStorage storage_;
  NetworkWeights weights_ = {};
};

}  // namespace ssr
