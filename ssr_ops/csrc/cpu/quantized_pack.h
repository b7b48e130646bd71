// Packs a quantized model into the words that the int8 and bf16 kernels read.
#pragma once

#include <functional>

#include "core/pack.h"
#include "core/quantize.h"
#include "cpu/quantized.h"

namespace ssr::cpu {

class PackedQuantized {
 public:
  // amx: the first blocks in AMX's layout.
  PackedQuantized(const Model& model, Words words, bool amx);

  const QuantizedNetwork& network() const { return network_; }
  int64_t scratch_bytes() const { return scratch_bytes_; }

 private:
  // rows x columns taps over inputs that lie `stride` elements apart from one column to the next.
  struct Kernel {
    int outputs, inputs, rows, columns, stride;
  };
  using Weight = std::function<uint32_t(int output, int input, int row, int column)>;  // an element's bits

  QuantizedLayer Block(const Model& model, char stream, int block, bool amx);
  QuantizedLayer Fusion(const Model& model, char stream, int stage);
  QuantizedLayer Integers(const IntegerConvolution& layer, const Kernel& kernel, Words words);
  QuantizedLayer Bf16(const FoldedConvolution& layer, const Kernel& kernel);
  QuantizedLayer Transformed(const IntegerConvolution& layer);
  QuantizedLayer ByColumns(const FoldedConvolution& layer);
  QuantizedLayer Pack(const Kernel& kernel, int element_bytes, const Weight& weight);
  const int32_t* PaddedIntegers(const std::vector<int32_t>& values);
  void PlaceScratch();

  const Words words_;
  PackStorage storage_;
  QuantizedNetwork network_ = {};
  int64_t scratch_bytes_ = 0;
};

}  // namespace ssr::cpu
