// int8 and bf16: what a quantized model's layers are in whole numbers and in bfloat16.
//
// Nothing but ranges, bias corrections and the direction of rounding is stored in a bundle; steps and
// integers are derived here, as ssr_ops/quantized.py derives them. A map of the X stream is kept as bytes of
// real step range / 255, one of the S stream as bytes of step 1 / 127 around 128. Weights and biases are
// whole numbers of a step that each output channel has for itself, so that sums are exact and the same in
// every implementation:
//
//   X: q = min(255, round(float(sum over the pool of max(sum, 0)) * scale))
//   S: q = 128 + round(127 tanh(float(max over the pool of sum) * scale))
//   fusion: real value float(sum or max over the pool) * scale
//
// Rounding is to nearest even. What follows the fusion blocks is float32.
#pragma once

#include <cstdint>
#include <vector>

#include "core/fold.h"
#include "ssr/implementation.h"
#include "ssr/model.h"

namespace ssr {

struct IntegerConvolution {
  std::vector<int16_t> weights;  // OIHW: -127..127; first blocks: see below
  std::vector<int32_t> bias;     // of each output channel; holds -128 sum(weights) for bytes around 128
  std::vector<float> scale;      // see above
};

// A block of a stream, 0..3. The first blocks' weights are whole numbers up to kFirstLimit of 8 significant
// bits: as bytes they would be the largest part of int8's error, and so each is one bf16, and sums over a
// pool stay below 2^24, where float32 is exact.
constexpr int kFirstLimit = 511;
IntegerConvolution QuantizeBlock(const Model& model, char stream, int block);

// stage: 0-based; pool: of the stage's head.
IntegerConvolution QuantizeFusion(const Model& model, char stream, int stage);

// The nearest bfloat16, to even if there are two.
uint16_t ToBf16(float value);
float FromBf16(uint16_t bits);

// As Fold, with the bias corrected for `precision`, and bf16's weights rounded.
FoldedConvolution FoldIn(const Model& model, Precision precision, char stream, int block);

// The 1x1 convolution of a fusion block alike.
FoldedConvolution FusionIn(const Model& model, Precision precision, char stream, int stage);

}  // namespace ssr
