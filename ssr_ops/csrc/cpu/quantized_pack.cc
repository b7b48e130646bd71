#include "cpu/quantized_pack.h"

#include <algorithm>
#include <cstring>

namespace ssr::cpu {
namespace {

constexpr int kPictureChannels = 3, kBlockOfOutputs = 16;

int ElementBytes(Words words) { return words == Words::kBytes ? 1 : 2; }

}  // namespace

PackedQuantized::PackedQuantized(const Model& model, Words words, bool amx) : words_(words) {
  const Architecture& a = model.architecture;
  QuantizedNetwork& n = network_;
  n.width_x = Padded(a.width_x);
  n.width_s = Padded(a.width_s);
  n.width_fusion = Padded(a.width_fusion);
  for (int block = 0; block < kBlocks; ++block) {
    n.x[block] = Block(model, 'x', block, amx);
    n.s[block] = Block(model, 's', block, amx);
  }
  n.num_stages = static_cast<int>(a.stages.size());
  for (int k = 0; k < n.num_stages; ++k) {
    n.stages[k] = {Fusion(model, 'x', k), Fusion(model, 's', k), PackStage(model, k, &storage_)};
  }
  PlaceScratch();
}

QuantizedLayer PackedQuantized::Block(const Model& model, char stream, int block, bool amx) {
  const int outputs = stream == 'x' ? model.architecture.width_x : model.architecture.width_s;
  const bool first = block == 0;
  const Kernel kernel{outputs, first ? kPictureChannels : outputs, 3, 3,
                      first ? kPictureChannels : Padded(outputs)};
  if (words_ == Words::kBf16) {
    const FoldedConvolution layer = FoldIn(model, Precision::kBf16, stream, block);
    return first ? ByColumns(layer) : Bf16(layer, kernel);
  }
  const IntegerConvolution layer = QuantizeBlock(model, stream, block);
  if (!first) return Integers(layer, kernel, words_);
  if (!amx) return Transformed(layer);
  QuantizedLayer packed =
      ByColumns({{layer.weights.begin(), layer.weights.end()},  // exact: 8 significant bits
                 {layer.bias.begin(), layer.bias.end()}});
  packed.scale = storage_.Padded(layer.scale);
  return packed;
}

QuantizedLayer PackedQuantized::Fusion(const Model& model, char stream, int stage) {
  const Architecture& a = model.architecture;
  const int inputs = stream == 'x' ? a.width_x : a.width_s;
  const Kernel kernel{a.width_fusion, inputs, 1, 1, Padded(inputs)};
  if (words_ == Words::kBf16) return Bf16(FusionIn(model, Precision::kBf16, stream, stage), kernel);
  return Integers(QuantizeFusion(model, stream, stage), kernel, words_);
}

QuantizedLayer PackedQuantized::Integers(const IntegerConvolution& layer, const Kernel& kernel, Words words) {
  const uint32_t mask = words == Words::kBytes ? 0xff : 0xffff;
  QuantizedLayer packed = Pack(kernel, ElementBytes(words), [&](int o, int i, int row, int column) {
    const int tap = (o * kernel.inputs + i) * kernel.rows * kernel.columns + row * kernel.columns + column;
    return static_cast<uint32_t>(layer.weights[static_cast<size_t>(tap)]) & mask;
  });
  packed.bias = PaddedIntegers(layer.bias);
  packed.scale = storage_.Padded(layer.scale);
  return packed;
}

QuantizedLayer PackedQuantized::Bf16(const FoldedConvolution& layer, const Kernel& kernel) {
  QuantizedLayer packed = Pack(kernel, ElementBytes(Words::kBf16), [&](int o, int i, int row, int column) {
    const int tap = (o * kernel.inputs + i) * kernel.rows * kernel.columns + row * kernel.columns + column;
    return uint32_t{ToBf16(layer.weights[static_cast<size_t>(tap)])};
  });
  packed.real_bias = storage_.Padded(layer.bias);
  return packed;
}

// A first block for Winograd's F(2, 3) down the columns: its four positions, twice so that they are whole
// numbers (below 2^11), and twice the bias.
QuantizedLayer PackedQuantized::Transformed(const IntegerConvolution& layer) {
  const int outputs = static_cast<int>(layer.bias.size());
  const Kernel positions{outputs, kPictureChannels, 4, 3, kPictureChannels};
  QuantizedLayer packed =
      Pack(positions, ElementBytes(Words::kInt16), [&](int o, int i, int position, int column) {
        const int16_t* g = &layer.weights[static_cast<size_t>((o * kPictureChannels + i) * 9 + column)];
        const int middle = g[3], ends = g[0] + g[6];
        const int twice[4] = {2 * g[0], ends + middle, ends - middle, 2 * g[6]};
        return static_cast<uint32_t>(twice[position]) & 0xffff;
      });
  std::vector<int32_t> bias = layer.bias;
  for (int32_t& value : bias) value *= 2;
  packed.bias = PaddedIntegers(bias);
  packed.scale = storage_.Padded(layer.scale);
  return packed;
}

// Column by column of the kernel, each with its three rows and their channels, in bf16.
QuantizedLayer PackedQuantized::ByColumns(const FoldedConvolution& layer) {
  const int outputs = static_cast<int>(layer.bias.size());
  const Kernel columns{outputs, 3 * kPictureChannels, 1, 3, 3 * kPictureChannels};
  QuantizedLayer packed = Pack(columns, ElementBytes(Words::kBf16), [&](int o, int value, int, int column) {
    const int row = value / kPictureChannels, channel = value % kPictureChannels;
    const int tap = (o * kPictureChannels + channel) * 9 + 3 * row + column;
    return uint32_t{ToBf16(layer.weights[static_cast<size_t>(tap)])};
  });
  packed.real_bias = storage_.Padded(layer.bias);
  return packed;
}

QuantizedLayer PackedQuantized::Pack(const Kernel& kernel, int element_bytes, const Weight& weight) {
  const int per_word = 4 / element_bytes;
  QuantizedLayer packed = {};
  packed.words = (kernel.columns * kernel.stride + per_word - 1) / per_word;
  packed.width = Padded(kernel.outputs);
  std::vector<uint32_t> bits(static_cast<size_t>(packed.width) * kernel.rows * packed.words);
  for (int o = 0; o < kernel.outputs; ++o) {
    for (int row = 0; row < kernel.rows; ++row) {
      for (int column = 0; column < kernel.columns; ++column) {
        for (int i = 0; i < kernel.inputs; ++i) {
          const int element = column * kernel.stride + i;
          const size_t word = static_cast<size_t>(o / kBlockOfOutputs * kernel.rows + row) * packed.words +
                              element / per_word;
          bits[word * kBlockOfOutputs + o % kBlockOfOutputs] |= weight(o, i, row, column)
                                                                << element % per_word * 8 * element_bytes;
        }
      }
    }
  }
  float* stored = storage_.Floats(static_cast<int64_t>(bits.size()));
  std::memcpy(stored, bits.data(), bits.size() * sizeof(uint32_t));
  packed.weights = reinterpret_cast<const uint32_t*>(stored);
  return packed;
}

const int32_t* PackedQuantized::PaddedIntegers(const std::vector<int32_t>& values) {
  float* stored = storage_.Floats(Padded(static_cast<int>(values.size())));
  std::memcpy(stored, values.data(), values.size() * sizeof(int32_t));
  return reinterpret_cast<const int32_t*>(stored);
}

void PackedQuantized::PlaceScratch() {
  QuantizedNetwork& n = network_;
  const auto place = [&](int64_t bytes) {
    const int64_t at = scratch_bytes_;
    scratch_bytes_ += (bytes + 63) / 64 * 64;
    return at;
  };
  for (int level = 0; level < kBlocks; ++level) {
    const int64_t pixels = int64_t{kMapSizes[level]} * kMapSizes[level];
    n.map_x[level] = place(pixels * n.width_x * ElementBytes(words_) + kMapSlack);
    n.map_s[level] = place(pixels * n.width_s * ElementBytes(words_) + kMapSlack);
  }
  int most_cells = 0;
  for (int k = 0; k < n.num_stages; ++k) {
    most_cells = std::max(most_cells, n.stages[k].dense.side * n.stages[k].dense.side);
  }
  n.features = place(3 * int64_t{most_cells} * n.width_fusion * static_cast<int64_t>(sizeof(float)));
  n.work = place(kWorkBytes);
}

}  // namespace ssr::cpu
