#include "cpu/network_pack.h"

#include <algorithm>
#include <string>

#include "core/contract.h"
#include "core/fold.h"

namespace ssr::cpu {

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
  scratch_floats_ = 4 * kImageSize * 3 + kWinogradFloats + 3 * int64_t{most_cells} * w.width_fusion;
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
  float* packed = Allocate(int64_t{9} * stride * width);
  for (int o = 0; o < outputs; ++o) {
    for (int i = 0; i < inputs; ++i) {
      for (int tap = 0; tap < 9; ++tap) {
        packed[(int64_t{tap} * stride + i) * width + o] = folded.weights[(o * inputs + i) * 9 + tap];
      }
    }
  }
  const int released = stream == 'x' ? kReleasedX : kReleasedS;
  const bool transform = stride == released && width == released;
  return {packed, transform ? PackTransformed(packed, width) : nullptr, PackBias(folded.bias), stride, width};
}

// Winograd's G g G^T of each 3x3 kernel g of a layer packed as [9][width][width].
const float* PackedNetwork::PackTransformed(const float* weights, int width) {
  constexpr double kG[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  const int64_t pairs = int64_t{width} * width;
  float* packed = Allocate(16 * pairs);
  for (int position = 0; position < 16; ++position) {
    for (int64_t pair = 0; pair < pairs; ++pair) {
      double sum = 0;
      for (int tap = 0; tap < 9; ++tap) {
        sum += kG[position / 4][tap / 3] * kG[position % 4][tap % 3] * weights[tap * pairs + pair];
      }
      packed[position * pairs + pair] = static_cast<float>(sum);
    }
  }
  return packed;
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
