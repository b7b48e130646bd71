#include "cpu/pack.h"

#include <algorithm>
#include <string>

#include "core/contract.h"
#include "core/fold.h"

namespace ssr::cpu {

float* PackStorage::Floats(int64_t count) {
  arrays_.push_back(MakeAligned(count));
  return arrays_.back().get();
}

const float* PackStorage::Padded(const std::vector<float>& values) {
  float* packed = Floats(cpu::Padded(static_cast<int>(values.size())));
  std::copy(values.begin(), values.end(), packed);
  return packed;
}

StageWeights PackStage(const Model& model, int k, PackStorage* storage) {
  const Architecture& a = model.architecture;
  StageWeights stage = {};
  stage.level = a.taps[k].level;
  stage.pool = a.taps[k].pool;
  stage.side = LevelSize(stage.level) / stage.pool;
  stage.bins = a.stages[k];
  const int cells = stage.side * stage.side, width = cpu::Padded(a.width_fusion);
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

}  // namespace ssr::cpu
