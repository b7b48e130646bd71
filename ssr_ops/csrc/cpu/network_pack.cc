#include "cpu/network_pack.h"

#include <algorithm>

#include "core/contract.h"
#include "core/quantize.h"

namespace ssr::cpu {
namespace {

// Winograd's G along one axis of a kernel: [outer][3][inner] to [outer][4][inner].
std::vector<double> Transform(const std::vector<double>& kernel, size_t outer, size_t inner) {
  std::vector<double> result(outer * 4 * inner);
  for (size_t i = 0; i < outer; ++i) {
    for (size_t j = 0; j < inner; ++j) {
      const double* g = kernel.data() + i * 3 * inner + j;
      const double middle = g[inner], ends = g[0] + g[2 * inner];
      double* out = result.data() + i * 4 * inner + j;
      out[0] = g[0];
      out[inner] = (ends + middle) / 2;
      out[2 * inner] = (ends - middle) / 2;
      out[3 * inner] = g[2 * inner];
    }
  }
  return result;
}

}  // namespace

PackedNetwork::PackedNetwork(const Model& model, Precision precision) {
  const Architecture& a = model.architecture;
  NetworkWeights& w = weights_;
  w.width_x = Padded(a.width_x);
  w.width_s = Padded(a.width_s);
  w.width_fusion = Padded(a.width_fusion);
  for (int block = 0; block < kBlocks; ++block) {
    w.x[block] = PackConvolution(FoldIn(model, precision, 'x', block), 'x', block);
    w.s[block] = PackConvolution(FoldIn(model, precision, 's', block), 's', block);
  }
  w.num_stages = static_cast<int>(a.stages.size());
  int most_cells = 0;
  for (int k = 0; k < w.num_stages; ++k) {
    const FoldedConvolution x = FusionIn(model, precision, 'x', k), s = FusionIn(model, precision, 's', k);
    StageWeights& stage = w.stages[k];
    stage = PackStage(model, k, &storage_);
    stage.fuse_x = PackFusion(x, w.width_x);
    stage.fuse_s = PackFusion(s, w.width_s);
    stage.fuse_x_bias = storage_.Padded(x.bias);
    stage.fuse_s_bias = storage_.Padded(s.bias);
    most_cells = std::max(most_cells, stage.side * stage.side);
  }
  scratch_floats_ = kWorkFloats + 3 * int64_t{most_cells} * w.width_fusion;
  for (int level = 1; level <= kBlocks; ++level) {
    scratch_floats_ += int64_t{LevelSize(level)} * LevelSize(level) * (w.width_x + w.width_s);
  }
}

Convolution PackedNetwork::PackConvolution(const FoldedConvolution& folded, char stream, int block) {
  const int outputs = static_cast<int>(folded.bias.size());
  const int inputs = static_cast<int>(folded.weights.size()) / outputs / 9;
  const int stride = block == 0 ? inputs : Padded(inputs), width = Padded(outputs);
  const size_t pairs = static_cast<size_t>(stride) * static_cast<size_t>(width);
  std::vector<double> packed(9 * pairs);
  for (int o = 0; o < outputs; ++o) {
    for (int i = 0; i < inputs; ++i) {
      for (int tap = 0; tap < 9; ++tap) {
        packed[(size_t(tap) * size_t(stride) + size_t(i)) * size_t(width) + size_t(o)] =
            folded.weights[size_t((o * inputs + i) * 9 + tap)];
      }
    }
  }
  const int released = stream == 'x' ? kReleasedX : kReleasedS;
  const bool winograd = (block == 1 || block == 2) && stride == released && width == released;
  if (block == 0 || winograd) packed = Transform(packed, 1, 3 * pairs);
  if (winograd) packed = Transform(packed, 4, pairs);
  float* weights = storage_.Floats(static_cast<int64_t>(packed.size()));
  std::copy(packed.begin(), packed.end(), weights);
  return {weights, storage_.Padded(folded.bias), stride, width, winograd};
}

const float* PackedNetwork::PackFusion(const FoldedConvolution& fusion, int width) {
  const size_t outputs = fusion.bias.size(), inputs = fusion.weights.size() / outputs;
  float* packed = storage_.Floats(int64_t{width} * weights_.width_fusion);
  for (size_t o = 0; o < outputs; ++o) {
    for (size_t i = 0; i < inputs; ++i) {
      packed[i * static_cast<size_t>(weights_.width_fusion) + o] = fusion.weights[o * inputs + i];
    }
  }
  return packed;
}

}  // namespace ssr::cpu
