#include "core/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "core/contract.h"

namespace ssr {
namespace {

constexpr double kLimit = 127;
// Biases in steps, so that sums (and sums over a pool, 64 for a fusion block) stay within int32.
constexpr double kBiasLimit = 1 << 26, kFusionBiasLimit = 1 << 23;
// 4 (27 * 255 * kFirstLimit + kFirstBiasLimit) < 2^24.
constexpr double kFirstBiasLimit = 1 << 19;
constexpr double kLargestScale = 1e30;
constexpr int kZeroPoint = 128;  // of the S stream's bytes

std::string BlockName(char stream, int block) { return std::string(1, stream) + "." + std::to_string(block); }

std::string FusionName(char stream, int stage) {
  return "stages." + std::to_string(stage) + ".fuse_" + stream;
}

// Real steps of the bytes that `channels` inputs come in.
std::vector<double> InputSteps(const Model& model, char stream, int level, int channels) {
  if (level == 0) return std::vector<double>(static_cast<size_t>(channels), 1.0);
  if (stream == 's') return std::vector<double>(static_cast<size_t>(channels), double{1.0f / 127.0f});
  std::vector<double> steps = model.quantization->ranges[level - 1];
  for (double& step : steps) step = double{static_cast<float>(step / 255)};
  return steps;
}

struct Limits {
  double weight, bias;
  bool around_zero_point;                 // the inputs are bytes around 128
  bool eight_bits;                        // of significance in a weight
  const std::vector<bool>* up = nullptr;  // learned rounding of each weight
};

// `scale` is left as the real step of each output channel.
IntegerConvolution InSteps(const FoldedConvolution& layer, const std::vector<double>& inputs,
                           const Limits& limits) {
  const size_t outputs = layer.bias.size(), count = layer.weights.size() / outputs;
  const size_t taps = count / inputs.size();
  IntegerConvolution result;
  result.weights.resize(layer.weights.size());
  for (size_t o = 0; o < outputs; ++o) {
    const auto weight = [&](size_t i) { return double{layer.weights[o * count + i]} * inputs[i / taps]; };
    double largest = 0;
    for (size_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(weight(i)));
    const double bias = layer.bias[o];
    const auto step =
        static_cast<float>(std::max(std::max(largest / limits.weight, std::fabs(bias) / limits.bias), 1e-30));
    int32_t sum = 0;
    for (size_t i = 0; i < count; ++i) {
      const double exact = weight(i) / step;
      auto q = static_cast<float>(std::nearbyint(exact));
      if (limits.eight_bits) q = FromBf16(ToBf16(q));
      if (limits.up != nullptr) {
        const double learned = std::floor(exact) + ((*limits.up)[o * count + i] ? 1 : 0);
        q = static_cast<float>(std::min(std::max(learned, -limits.weight), limits.weight));
      }
      result.weights[o * count + i] = static_cast<int16_t>(q);
      sum += static_cast<int32_t>(q);
    }
    const auto whole = static_cast<int32_t>(std::nearbyint(bias / step));
    result.bias.push_back(limits.around_zero_point ? whole - kZeroPoint * sum : whole);
    result.scale.push_back(step);
  }
  return result;
}

FoldedConvolution Fusion(const Model& model, char stream, int stage) {
  const std::string name = FusionName(stream, stage);
  return {Parameter(model, name + ".weight").values, Parameter(model, name + ".bias").values};
}

const std::vector<bool>* Rounding(const Model& model, const std::string& layer) {
  const auto found = model.quantization->rounding.find(layer);
  return found == model.quantization->rounding.end() ? nullptr : &found->second;
}

// The layer in `precision`: its weights as bf16 has them, its bias corrected.
FoldedConvolution In(Precision precision, const Model& model, const std::string& name,
                     FoldedConvolution layer) {
  if (precision == Precision::kFp32) return layer;
  const bool bf16 = precision == Precision::kBf16;
  const std::vector<double>& correction =
      (bf16 ? model.quantization->bf16 : model.quantization->int8).at(name);
  for (size_t o = 0; o < layer.bias.size(); ++o) {
    layer.bias[o] = static_cast<float>(double{layer.bias[o]} + correction[o]);
  }
  if (bf16) {
    for (float& weight : layer.weights) weight = FromBf16(ToBf16(weight));
  }
  return layer;
}

}  // namespace

uint16_t ToBf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // finite values only
}

float FromBf16(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

IntegerConvolution QuantizeBlock(const Model& model, char stream, int block) {
  const FoldedConvolution folded = FoldIn(model, Precision::kInt8, stream, block);
  const int channels = static_cast<int>(folded.weights.size() / folded.bias.size() / 9);
  Limits limits = block == 0 ? Limits{kFirstLimit, kFirstBiasLimit, false, true}
                             : Limits{kLimit, kBiasLimit, stream == 's', false};
  if (block > 0) limits.up = Rounding(model, BlockName(stream, block));
  IntegerConvolution result = InSteps(folded, InputSteps(model, stream, block, channels), limits);
  if (stream == 's') return result;  // the step is what tanh wants
  const std::vector<double> outputs = InputSteps(model, stream, block + 1, 0);
  const double pool = block + 1 < kBlocks ? 4 : 1;
  for (size_t o = 0; o < result.scale.size(); ++o) {
    result.scale[o] =
        static_cast<float>(std::min(double{result.scale[o]} / pool / outputs[o], kLargestScale));
  }
  return result;
}

IntegerConvolution QuantizeFusion(const Model& model, char stream, int stage) {
  const FoldedConvolution fusion = FusionIn(model, Precision::kInt8, stream, stage);
  const Tap tap = model.architecture.taps[static_cast<size_t>(stage)];
  const int channels = static_cast<int>(fusion.weights.size() / fusion.bias.size());
  const Limits limits{kLimit, kFusionBiasLimit, stream == 's', false,
                      Rounding(model, FusionName(stream, stage))};
  IntegerConvolution result = InSteps(fusion, InputSteps(model, stream, tap.level, channels), limits);
  if (stream == 's') return result;
  for (float& scale : result.scale) scale = static_cast<float>(double{scale} / (tap.pool * tap.pool));
  return result;
}

FoldedConvolution FoldIn(const Model& model, Precision precision, char stream, int block) {
  return In(precision, model, BlockName(stream, block), Fold(model, stream, block));
}

FoldedConvolution FusionIn(const Model& model, Precision precision, char stream, int stage) {
  return In(precision, model, FusionName(stream, stage), Fusion(model, stream, stage));
}

}  // namespace ssr
