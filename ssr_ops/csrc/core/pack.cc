#include "core/pack.h"

#include <algorithm>
#include <array>
#include <string>

#include "core/quantize.h"

namespace ssr {
namespace {

using Rows = std::vector<std::array<double, 3>>;

// Winograd's G: of F(2, 3) for the first layer, of F(4, 3) at the points of kWinogradPoint for the others.
Rows SmallTransform() { return {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}}; }

Rows LargeTransform() {
  const double a = kWinogradPoint, points[] = {0, a, -a, 1 / a, -1 / a};
  Rows rows;
  for (const double point : points) {
    double scale = 1;
    for (const double other : points) {
      if (other != point) scale /= point - other;
    }
    rows.push_back({scale, scale * point, scale * point * point});
  }
  rows.push_back({0, 0, 1});
  return rows;
}

// Transforms one axis of kernels: [outer][3][inner] to [outer][g.size()][inner].
std::vector<double> Transform(const Rows& g, const std::vector<double>& kernels, size_t outer, size_t inner) {
  std::vector<double> result;
  result.reserve(outer * g.size() * inner);
  for (size_t i = 0; i < outer; ++i) {
    for (const std::array<double, 3>& row : g) {
      for (size_t j = 0; j < inner; ++j) {
        const double* kernel = kernels.data() + i * 3 * inner + j;
        result.push_back(row[0] * kernel[0] + row[1] * kernel[inner] + row[2] * kernel[2 * inner]);
      }
    }
  }
  return result;
}

}  // namespace

float* PackStorage::Floats(int64_t count) {
  arrays_.push_back(MakeAligned(count));
  return arrays_.back().get();
}

const float* PackStorage::Padded(const std::vector<float>& values) {
  float* packed = Floats(ssr::Padded(static_cast<int>(values.size())));
  std::copy(values.begin(), values.end(), packed);
  return packed;
}

StageWeights PackStage(const Model& model, int k, PackStorage* storage) {
  const Architecture& a = model.architecture;
  StageWeights stage = {};
  stage.level = a.taps[k].level;
  stage.pool = a.taps[k].pool;
  stage.side = MapSize(stage.level - 1) / stage.pool;
  stage.bins = a.stages[k];
  const int cells = stage.side * stage.side, width = ssr::Padded(a.width_fusion);
  const auto dense = [&](const char* name) {
    const Tensor& weights = Parameter(model, "stages." + std::to_string(k) + "." + name);
    const int64_t rows = weights.shape[0], columns = weights.shape[1];
    float* packed = storage->Floats(rows * cells * width);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t cell = 0; cell < cells; ++cell) {
        const float* from = weights.values.data() + row * columns + cell * a.width_fusion;
        std::copy(from, from + a.width_fusion, packed + (row * cells + cell) * width);
      }
    }
    return packed;
  };
  stage.delta = dense("delta.weight");
  stage.bins_x = dense("bins_x.weight");
  stage.bins_s = dense("bins_s.weight");
  return stage;
}

PackedNetwork::PackedNetwork(const Model& model, Precision precision, bool transformed) {
  const Architecture& a = model.architecture;
  NetworkWeights& w = weights_;
  w.width_x = Padded(a.width_x);
  w.width_s = Padded(a.width_s);
  w.width_fusion = Padded(a.width_fusion);
  for (int block = 0; block < kBlocks; ++block) {
    w.x[block] = PackConvolution(FoldIn(model, precision, 'x', block), 'x', block, transformed);
    w.s[block] = PackConvolution(FoldIn(model, precision, 's', block), 's', block, transformed);
  }
  w.num_stages = static_cast<int>(a.stages.size());
  for (int k = 0; k < w.num_stages; ++k) {
    const FoldedConvolution x = FusionIn(model, precision, 'x', k), s = FusionIn(model, precision, 's', k);
    StageWeights& stage = w.stages[k];
    stage = PackStage(model, k, &storage_);
    stage.fuse_x = PackFusion(x, w.width_x);
    stage.fuse_s = PackFusion(s, w.width_s);
    stage.fuse_x_bias = storage_.Padded(x.bias);
    stage.fuse_s_bias = storage_.Padded(s.bias);
  }
}

Convolution PackedNetwork::PackConvolution(const FoldedConvolution& folded, char stream, int block,
                                           bool transformed) {
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
  const bool winograd = transformed && (block == 1 || block == 2) && stride == released && width == released;
  if (block == 0 && transformed) packed = Transform(SmallTransform(), packed, 1, 3 * pairs);
  if (winograd) {
    const Rows g = LargeTransform();
    packed = Transform(g, Transform(g, packed, 1, 3 * pairs), g.size(), pairs);
  }
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

}  // namespace ssr
