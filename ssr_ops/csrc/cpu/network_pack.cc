#include "cpu/network_pack.h"

#include <algorithm>
#include <string>

#include "core/contract.h"
#include "core/fold.h"

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

PackedNetwork::PackedNetwork(const Model& model) {
  const Architecture& a = model.architecture;
  NetworkWeights& w = weights_;
  w.width_x = Padded(a.width_x);
  w.width_s = Padded(a.width_s);
  w.width_fusion = Padded(a.width_fusion);
  fusion_ = a.width_fusion;
  for (int block = 0; block < kBlocks; ++block) {
    w.x[block] = PackConvolution(model, 'x', block);
    w.s[block] = PackConvolution(model, 's', block);
  }
  w.num_stages = static_cast<int>(a.stages.size());
  int most_cells = 0;
  for (int k = 0; k < w.num_stages; ++k) {
    const auto tensor = [&](const char* name) -> const Tensor& {
      return Parameter(model, "stages." + std::to_string(k) + "." + name);
    };
    StageWeights& stage = w.stages[k];
    stage.level = a.taps[k].level;
    stage.pool = a.taps[k].pool;
    stage.side = LevelSize(stage.level) / stage.pool;
    stage.bins = a.stages[k];
    const int cells = stage.side * stage.side;
    most_cells = std::max(most_cells, cells);
    stage.fuse_x = PackFuse(tensor("fuse_x.weight"), w.width_x);
    stage.fuse_s = PackFuse(tensor("fuse_s.weight"), w.width_s);
    stage.fuse_x_bias = PackBias(tensor("fuse_x.bias").values);
    stage.fuse_s_bias = PackBias(tensor("fuse_s.bias").values);
    stage.delta = PackDense(tensor("delta.weight"), cells);
    stage.bins_x = PackDense(tensor("bins_x.weight"), cells);
    stage.bins_s = PackDense(tensor("bins_s.weight"), cells);
    dots_ += 1 + 2 * stage.bins;
  }
  scratch_floats_ = kWorkFloats + 3 * int64_t{most_cells} * w.width_fusion;
  for (int level = 1; level <= kBlocks; ++level) {
    scratch_floats_ += int64_t{LevelSize(level)} * LevelSize(level) * (w.width_x + w.width_s);
  }
}

float* PackedNetwork::Allocate(int64_t count) {
  storage_.push_back(MakeAligned(count));
  return storage_.back().get();
}

Convolution PackedNetwork::PackConvolution(const Model& model, char stream, int block) {
  const FoldedConvolution folded = Fold(model, stream, block);
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
  float* weights = Allocate(static_cast<int64_t>(packed.size()));
  std::copy(packed.begin(), packed.end(), weights);
  return {weights, PackBias(folded.bias), stride, width, winograd};
}

const float* PackedNetwork::PackFuse(const Tensor& weights, int width) {
  const int64_t outputs = weights.shape[0], inputs = weights.shape[1];
  float* packed = Allocate(int64_t{width} * weights_.width_fusion);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t i = 0; i < inputs; ++i) {
      packed[i * weights_.width_fusion + o] = weights.values[o * inputs + i];
    }
  }
  return packed;
}

const float* PackedNetwork::PackDense(const Tensor& weights, int cells) {
  const int64_t rows = weights.shape[0], columns = weights.shape[1];
  float* packed = Allocate(rows * cells * weights_.width_fusion);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t cell = 0; cell < cells; ++cell) {
      const float* from = weights.values.data() + row * columns + cell * fusion_;
      std::copy(from, from + fusion_, packed + (row * cells + cell) * weights_.width_fusion);
    }
  }
  return packed;
}

const float* PackedNetwork::PackBias(const std::vector<float>& bias) {
  float* packed = Allocate(Padded(static_cast<int>(bias.size())));
  std::copy(bias.begin(), bias.end(), packed);
  return packed;
}

}  // namespace ssr::cpu
