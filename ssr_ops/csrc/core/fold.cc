#include "core/fold.h"

#include <algorithm>
#include <cmath>

#include "core/contract.h"

namespace ssr {
namespace {

// Leaves room below float32's 3.4e38 for any order of summation and for Winograd's transforms, whose values
// can be 200 times as large on the way.
constexpr double kLargest = 1e35;

// The largest |output| of a layer whose inputs are at most `input`: rows of `count` weights each. Never below
// the weights' own sum, for they are transformed as well, and infinite ones yield NaN where all inputs are 0.
double Bound(const std::vector<float>& weights, const std::vector<float>& bias, double input) {
  const size_t count = weights.size() / bias.size();
  double most = 0;
  for (size_t row = 0; row < bias.size(); ++row) {
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += std::fabs(double{weights[row * count + i]});
    most = std::max(most, sum * std::max(input, 1.0) + std::fabs(double{bias[row]}));
  }
  return most;
}

}  // namespace

const Tensor& Parameter(const Model& model, const std::string& name) { return model.parameters.at(name); }

FoldedConvolution Fold(const Model& model, char stream, int block) {
  const std::string prefix = std::string(1, stream) + "." + std::to_string(block);
  const auto values = [&](const char* name) -> const std::vector<float>& {
    return Parameter(model, prefix + name).values;
  };
  FoldedConvolution folded{values(".conv.weight"), values(".conv.bias")};
  const size_t count = folded.weights.size() / folded.bias.size();
  for (size_t c = 0; c < folded.bias.size(); ++c) {
    const double variance = double{values(".norm.running_var")[c]} + model.architecture.batch_norm_epsilon;
    const double scale = values(".norm.weight")[c] / std::sqrt(variance);
    for (size_t i = 0; i < count; ++i) {
      float& weight = folded.weights[c * count + i];
      weight = static_cast<float>(weight * scale);
    }
    folded.bias[c] = static_cast<float>((double{folded.bias[c]} - values(".norm.running_mean")[c]) * scale +
                                        values(".norm.bias")[c]);
  }
  return folded;
}

Status CheckRange(const Model& model) {
  const auto check = [](const std::string& layer, double bound) -> Status {
    if (bound <= kLargest) return {};
    return {Code::kInvalidArgument,
            "the weights of " + layer + " are so large that its values can leave float32's range"};
  };
  const Architecture& a = model.architecture;
  // What rounding, ranges and corrections can add to a layer of a quantized model.
  const auto correction = [&](const std::string& layer) {
    double most = 0;
    if (!model.quantization) return most;
    for (const auto* precision : {&model.quantization->int8, &model.quantization->bf16}) {
      for (const double value : precision->at(layer)) most = std::max(most, std::fabs(value));
    }
    return most;
  };
  double levels[kBlocks];  // of X; S lies in -1..1
  for (const char stream : {'x', 's'}) {
    double input = 255;
    for (int block = 0; block < kBlocks; ++block) {
      const FoldedConvolution folded = Fold(model, stream, block);
      const std::string layer = std::string(1, stream) + "." + std::to_string(block);
      double bound = Bound(folded.weights, folded.bias, input) + correction(layer);
      SSR_RETURN_IF_ERROR(check(layer, bound));
      if (stream == 'x' && model.quantization) {
        for (const double range : model.quantization->ranges[block]) bound = std::max(bound, range);
      }
      if (stream == 'x') levels[block] = bound;
      input = stream == 'x' ? bound : 1;
    }
  }
  for (size_t k = 0; k < a.stages.size(); ++k) {
    const std::string prefix = "stages." + std::to_string(k) + ".";
    double bound = 0;
    const auto layer = [&](const char* name, double input) {
      bound = Bound(Parameter(model, prefix + name + ".weight").values,
                    Parameter(model, prefix + name + ".bias").values, input);
      return check(prefix + name, bound);
    };
    SSR_RETURN_IF_ERROR(layer("fuse_x", levels[a.taps[k].level - 1]));
    const double x = bound + correction(prefix + "fuse_x");
    SSR_RETURN_IF_ERROR(layer("fuse_s", 1));
    const double s = bound + correction(prefix + "fuse_s");
    SSR_RETURN_IF_ERROR(check(prefix + "delta", x * s));
    SSR_RETURN_IF_ERROR(layer("delta", x * s));
    SSR_RETURN_IF_ERROR(layer("bins_x", x));
    const double bins_x = bound;
    SSR_RETURN_IF_ERROR(layer("bins_s", s));
    SSR_RETURN_IF_ERROR(layer("mix", bins_x * bound));
    const double mixed = bound;
    SSR_RETURN_IF_ERROR(layer("p", mixed));
    SSR_RETURN_IF_ERROR(layer("eta", mixed));
  }
  return {};
}

Head MakeHead(const Model& model) {
  const Architecture& a = model.architecture;
  Head head = {};
  head.num_stages = static_cast<int>(a.stages.size());
  head.value_range = a.value_range;
  head.lambda_index = a.lambda_index;
  head.lambda_width = a.lambda_width;
  head.denominator_floor = a.denominator_floor;
  head.clip_low = model.clip_low;
  head.clip_high = model.clip_high;
  for (int k = 0; k < head.num_stages; ++k) {
    const auto values = [&](const char* name) {
      return Parameter(model, "stages." + std::to_string(k) + "." + name).values.data();
    };
    head.stages[k] = {a.stages[k],           values("delta.bias"), values("bins_x.bias"),
                      values("bins_s.bias"), values("mix.weight"), values("mix.bias"),
                      values("p.weight"),    values("p.bias"),     values("eta.weight"),
                      values("eta.bias")};
  }
  return head;
}

}  // namespace ssr
