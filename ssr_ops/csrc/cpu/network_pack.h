// Packs a model's parameters into the layout that the CPU kernels read.
#pragma once

#include <vector>

#include "core/aligned.h"
#include "cpu/network.h"
#include "ssr/model.h"

namespace ssr::cpu {

class PackedNetwork {
 public:
  explicit PackedNetwork(const Model& model);

  const NetworkWeights& weights() const { return weights_; }
  int64_t scratch_floats() const { return scratch_floats_; }
  int dots() const { return dots_; }  // floats a kernel writes for one image

 private:
  float* Allocate(int64_t count);
  Convolution PackConvolution(const Model& model, char stream, int block);
  const float* PackFuse(const Tensor& weights, int width);
  const float* PackDense(const Tensor& weights, int cells);
  const float* PackBias(const std::vector<float>& bias);

  std::vector<AlignedFloats> storage_;
  NetworkWeights weights_ = {};
  int fusion_ = 0;  // unpadded
  int64_t scratch_floats_ = 0;
  int dots_ = 0;
};

}  // namespace ssr::cpu
