// Packs a model's parameters into the layout that the fp32 kernels read.
#pragma once

#include "core/fold.h"
#include "cpu/pack.h"
#include "ssr/implementation.h"

namespace ssr::cpu {

class PackedNetwork {
 public:
  // precision: fp32, or bf16: its weights in fp32's arithmetic, for processors without bf16's.
  // transformed: as the CPU's kernels read the convolutions; else plain, as the GPU does.
  PackedNetwork(const Model& model, Precision precision, bool transformed = true);

  const NetworkWeights& weights() const { return weights_; }
  void Watch(LayerProbe* probe) { weights_.probe = probe; }
  int64_t scratch_floats() const { return scratch_floats_; }

 private:
  Convolution PackConvolution(const FoldedConvolution& folded, char stream, int block, bool transformed);
  const float* PackFusion(const FoldedConvolution& fusion, int width);

  PackStorage storage_;
  NetworkWeights weights_ = {};
  int64_t scratch_floats_ = 0;
};

}  // namespace ssr::cpu
