// Every int8 implementation of this machine against plain loops over core/quantize.h's whole numbers: all
// bytes of all maps and the fusion features to the bit, the dense layers' sums within float32's rounding.
// Usage: int8_test QUANTIZED_BUNDLE
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/aligned.h"
#include "core/contract.h"
#include "core/quantize.h"
#include "cpu/prepared.h"
#include "cpu/quantized_pack.h"

namespace {

using ssr::IntegerConvolution;
using ssr::Model;

// (side, side, channels) bytes.
struct Map {
  int side = 0, channels = 0;
  std::vector<uint8_t> bytes;

  uint8_t At(int y, int x, int c) const {
    return bytes[(static_cast<size_t>(y) * static_cast<size_t>(side) + static_cast<size_t>(x)) *
                     static_cast<size_t>(channels) +
                 static_cast<size_t>(c)];
  }
};

// A sum at (y, x) of output channel o of a size x size kernel.
int64_t SumAt(const IntegerConvolution& layer, const Map& in, int size, int y, int x, int o) {
  int64_t sum = layer.bias[static_cast<size_t>(o)];
  size_t weight = static_cast<size_t>(o * in.channels * size * size);
  for (int i = 0; i < in.channels; ++i) {
    for (int ky = 0; ky < size; ++ky) {
      for (int kx = 0; kx < size; ++kx) {
        sum += int64_t{layer.weights[weight++]} * in.At(y + ky, x + kx, i);
      }
    }
  }
  return sum;
}

// The sum over a pool of what is positive, or the maximum.
int64_t PooledAt(const IntegerConvolution& layer, const Map& in, int size, int pool, bool is_x, int y, int x,
                 int o) {
  int64_t total = 0, most = INT64_MIN;
  for (int i = 0; i < pool * pool; ++i) {
    const int64_t sum = SumAt(layer, in, size, y * pool + i / pool, x * pool + i % pool, o);
    total += std::max<int64_t>(sum, 0);
    most = std::max(most, sum);
  }
  return is_x ? total : most;
}

float Tanh127(float v) {
  v = std::fmax(std::fmin(v, ssr::cpu::kTanhLimit), -ssr::cpu::kTanhLimit);
  const float square = v * v;
  float p = ssr::cpu::kTanh127[ssr::cpu::kTanhTerms - 1];
  for (int i = ssr::cpu::kTanhTerms - 2; i >= 0; --i) p = std::fma(p, square, ssr::cpu::kTanh127[i]);
  return v * p;
}

Map Convolve(const IntegerConvolution& layer, const Map& in, bool is_x, int pool) {
  Map out;
  out.side = (in.side - 2) / pool;
  out.channels = static_cast<int>(layer.bias.size());
  for (int y = 0; y < out.side; ++y) {
    for (int x = 0; x < out.side; ++x) {
      for (int o = 0; o < out.channels; ++o) {
        const auto value = static_cast<float>(PooledAt(layer, in, 3, pool, is_x, y, x, o));
        const float real = value * layer.scale[static_cast<size_t>(o)];
        out.bytes.push_back(static_cast<uint8_t>(is_x ? std::nearbyint(std::fmin(real, 255.0f))
                                                      : 128 + std::nearbyint(Tanh127(real))));
      }
    }
  }
  return out;
}

std::vector<float> Fuse(const IntegerConvolution& layer, const Map& in, bool is_x, const ssr::Tap& tap) {
  std::vector<float> features;
  const int side = in.side / tap.pool;
  for (int cell = 0; cell < side * side; ++cell) {
    for (size_t o = 0; o < layer.bias.size(); ++o) {
      const int64_t pooled =
          PooledAt(layer, in, 1, tap.pool, is_x, cell / side, cell % side, static_cast<int>(o));
      features.push_back(static_cast<float>(std::max<int64_t>(pooled, 0)) * layer.scale[o]);
    }
  }
  return features;
}

struct Expected {
  Map x[4], s[4];
  std::vector<float> fx, fs;  // of the last stage
  size_t saturated = 0;       // bytes of 255 in x
};

Expected Evaluate(const Model& model, const uint8_t* image) {
  Expected e;
  Map x{ssr::kImageSize, 3, std::vector<uint8_t>(image, image + ssr::kImageBytes)}, s = x;
  for (int block = 0; block < ssr::kBlocks; ++block) {
    const int pool = block + 1 < ssr::kBlocks ? 2 : 1;
    e.x[block] = x = Convolve(ssr::QuantizeBlock(model, 'x', block), x, true, pool);
    e.s[block] = s = Convolve(ssr::QuantizeBlock(model, 's', block), s, false, pool);
    e.saturated += static_cast<size_t>(std::count(x.bytes.begin(), x.bytes.end(), 255));
  }
  const int last = static_cast<int>(model.architecture.stages.size()) - 1;
  const ssr::Tap tap = model.architecture.taps[static_cast<size_t>(last)];
  e.fx = Fuse(ssr::QuantizeFusion(model, 'x', last), e.x[tap.level - 1], true, tap);
  e.fs = Fuse(ssr::QuantizeFusion(model, 's', last), e.s[tap.level - 1], false, tap);
  return e;
}

class Check {
 public:
  Check(const Model& model, ssr::Isa isa)
      : model_(model),
        isa_(isa),
        words_(isa == ssr::Isa::kAvx2 || isa == ssr::Isa::kPortable ? ssr::cpu::Words::kInt16
                                                                    : ssr::cpu::Words::kBytes),
        packed_(model, words_, isa == ssr::Isa::kAmx),
        prepared_(ssr::cpu::Prepare(model, ssr::Precision::kInt8, isa)),
        scratch_(ssr::MakeAligned(prepared_->scratch_bytes() / static_cast<int64_t>(sizeof(float)))),
        dots_(static_cast<size_t>(2 * model.architecture.TotalBins()) + model.architecture.stages.size()) {}

  // Whether the kernel's maps and features are the expected ones; scratch is what the last image left.
  bool Image(const uint8_t* image, const Expected& expected) {
    prepared_->Run(image, scratch_.get(), dots_.data());
    bool good = true;
    const ssr::cpu::QuantizedNetwork& n = packed_.network();
    for (int level = 0; level < 4; ++level) {
      good = MapAgrees("x", level, n.map_x[level], n.width_x, expected.x[level]) && good;
      good = MapAgrees("s", level, n.map_s[level], n.width_s, expected.s[level]) && good;
    }
    const ssr::StageWeights& last = n.stages[n.num_stages - 1].dense;
    const int64_t count = int64_t{last.side} * last.side * n.width_fusion;
    const auto* features = reinterpret_cast<const float*>(Bytes() + n.features);
    good = FeaturesAgree("x", features, expected.fx) && good;
    good = FeaturesAgree("s", features + count, expected.fs) && good;
    return DotsAgree(last, expected) && good;
  }

 private:
  const uint8_t* Bytes() const { return reinterpret_cast<const uint8_t*>(scratch_.get()); }

  bool MapAgrees(const char* stream, int level, int64_t at, int width, const Map& expected) const {
    for (int y = 0; y < expected.side; ++y) {
      for (int x = 0; x < expected.side; ++x) {
        for (int c = 0; c < expected.channels; ++c) {
          const int64_t i = (int64_t{y} * expected.side + x) * width + c;
          uint16_t found = 0;
          if (words_ == ssr::cpu::Words::kBytes) {
            found = Bytes()[at + i];
          } else {
            std::memcpy(&found, Bytes() + at + 2 * i, sizeof(found));
          }
          if (found == expected.At(y, x, c)) continue;
          std::printf("%s: map %s of level %d at (%d, %d), channel %d: %d, expected %d\n", IsaName(isa_),
                      stream, level + 1, y, x, c, found, expected.At(y, x, c));
          return false;
        }
      }
    }
    return true;
  }

  bool FeaturesAgree(const char* stream, const float* found, const std::vector<float>& expected) const {
    const auto fusion = static_cast<size_t>(model_.architecture.width_fusion);
    for (size_t i = 0; i < expected.size(); ++i) {
      const float value =
          found[i / fusion * static_cast<size_t>(packed_.network().width_fusion) + i % fusion];
      if (value == expected[i]) continue;
      std::printf("%s: feature %s %zu: %.9g, expected %.9g\n", IsaName(isa_), stream, i,
                  static_cast<double>(value), static_cast<double>(expected[i]));
      return false;
    }
    return true;
  }

  // The dense layers of the last stage, from the expected features.
  bool DotsAgree(const ssr::StageWeights& last, const Expected& expected) const {
    const float* found = dots_.data() + dots_.size() - static_cast<size_t>(1 + 2 * last.bins);
    const auto fusion = static_cast<size_t>(model_.architecture.width_fusion);
    const auto padded = static_cast<size_t>(packed_.network().width_fusion);
    for (int row = 0; row < 1 + 2 * last.bins; ++row) {
      const float* weights = row == 0 ? last.delta : row <= last.bins ? last.bins_x : last.bins_s;
      const int of = row == 0 ? 0 : (row - 1) % last.bins;
      const size_t cells = expected.fx.size() / fusion;
      double sum = 0, size = 1e-30;
      for (size_t i = 0; i < expected.fx.size(); ++i) {
        const double x = expected.fx[i], s = expected.fs[i];
        const double term =
            (row == 0           ? x * s
             : row <= last.bins ? x
                                : s) *
            double{weights[(static_cast<size_t>(of) * cells + i / fusion) * padded + i % fusion]};
        sum += term;
        size += std::fabs(term);
      }
      if (std::fabs(double{found[row]} - sum) <= 2e-6 * size) continue;
      std::printf("%s: dense row %d: %.9g, expected %.9g\n", IsaName(isa_), row, double{found[row]}, sum);
      return false;
    }
    return true;
  }

  const Model& model_;
  const ssr::Isa isa_;
  const ssr::cpu::Words words_;
  const ssr::cpu::PackedQuantized packed_;
  const std::unique_ptr<ssr::cpu::Prepared> prepared_;
  const ssr::AlignedFloats scratch_;
  std::vector<float> dots_;
};

// Noise, all black, all white, single pixels' checkers, and stripes with noise.
std::vector<std::vector<uint8_t>> Pictures() {
  std::mt19937 random(1);
  std::vector<std::vector<uint8_t>> pictures(5, std::vector<uint8_t>(ssr::kImageBytes));
  for (size_t i = 0; i < pictures[0].size(); ++i) {
    const size_t pixel = i / 3, row = pixel / ssr::kImageSize, column = pixel % ssr::kImageSize;
    pictures[0][i] = static_cast<uint8_t>(random());
    pictures[2][i] = 255;
    pictures[3][i] = (row + column) % 2 == 0 ? 255 : 0;
    pictures[4][i] = static_cast<uint8_t>(column / 5 % 2 * (200 + random() % 56));
  }
  return pictures;
}

// As the bundle, but every convolution's weights as large as its largest, so that all are +-127 (+-2047 in
// the first blocks), and ranges that saturate the bytes.
Model Extreme(const Model& model) {
  Model extreme = model;
  std::mt19937 random(2);
  for (auto& [name, tensor] : extreme.parameters) {
    if (tensor.shape.size() != 4) continue;
    float largest = 0;
    for (const float value : tensor.values) largest = std::fmax(largest, std::fabs(value));
    for (float& value : tensor.values) value = random() % 4 == 0 ? -largest : largest;
  }
  extreme.quantization->rounding.clear();
  return extreme;
}

bool CheckModel(const Model& model, const char* what, size_t least_saturated) {
  bool good = true;
  std::vector<std::unique_ptr<Check>> checks;
  for (const ssr::Isa isa : ssr::SupportedIsas(ssr::Precision::kInt8)) {
    checks.push_back(std::make_unique<Check>(model, isa));
  }
  size_t saturated = 0, images = 0;
  for (const std::vector<uint8_t>& picture : Pictures()) {
    const Expected expected = Evaluate(model, picture.data());
    saturated += expected.saturated;
    ++images;
    for (const auto& check : checks) good = check->Image(picture.data(), expected) && good;
  }
  std::printf("%s: %zu implementations, %zu images, %zu bytes of 255: %s\n", what, checks.size(), images,
              saturated, good ? "equal" : "not equal");
  return good && saturated >= least_saturated;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s QUANTIZED_BUNDLE\n", argv[0]), 2;
  std::shared_ptr<const Model> model;
  const ssr::Status status = Model::Load(argv[1], &model);
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message().c_str()), 1;
  if (!model->quantization) return std::fprintf(stderr, "%s: not quantized\n", argv[1]), 1;
  bool good = CheckModel(Extreme(*model), "extreme weights", 1000);
  // The features of one stage are left in the scratch, the last one's: so each is the last one once.
  for (size_t stages = model->architecture.stages.size(); stages > 0; --stages) {
    Model shorter = *model;
    shorter.architecture.stages.resize(stages);
    shorter.architecture.taps.resize(stages);
    good = CheckModel(shorter, ("stages " + std::to_string(stages)).c_str(), 0) && good;
  }
  return good ? 0 : 1;
}
