// The network in 32-bit words: what one multiply-add instruction takes of the inputs at once, 4 bytes,
// 2 int16 or 2 bfloat16. Sums are int32 for int8 (see core/quantize.h), float32 for bf16.
//
// Plain, as cpu/network.h.
#pragma once

#include <cstdint>

#include "cpu/network.h"

namespace ssr::cpu {

// A convolution. Inputs are (row, column, padded channel); a row of the kernel reads its columns' channels
// as they lie in the map, in words.
struct QuantizedLayer {
  const uint32_t* weights;  // [width / 16][kernel rows][words][16 output channels]
  const int32_t* bias;      // [width]: what int8's sums begin with
  const float* scale;       // [width]: of int8, see core/quantize.h
  const float* real_bias;   // [width]: what bf16's sums begin with
  int words;                // of a kernel row
  int width;                // padded output channels
};

// As StageWeights, less its fusion blocks.
struct QuantizedStage {
  QuantizedLayer fuse_x, fuse_s;
  StageWeights dense;
};

// In the first blocks a kernel row is 3 * 3 values of the picture and one of zero weight: 5 words of 16 bits.
// For int8 these are int16 and transformed as Winograd's F(2, 3) down the columns wants them: four rows of
// weights, and sums are twice the true ones (see quantized_pack.cc). AMX has them otherwise: bf16 for both
// precisions, the kernel column by column with its three rows in each, 27 values and one of zero weight; sums
// begin with real_bias, which for int8 is bias.
struct QuantizedNetwork {
  QuantizedLayer x[kBlocks], s[kBlocks];
  int width_x, width_s, width_fusion;  // padded
  int num_stages;
  QuantizedStage stages[kBlocks];

  // Bytes into the scratch: maps by level, each with kMapSlack readable bytes behind; then the fusion
  // features (three times the most that a stage has), then kWorkBytes for the kernel's own use.
  int64_t map_x[kBlocks], map_s[kBlocks], features, work;
};

constexpr int kMapSlack = 128;
constexpr int kWorkBytes = 32 << 10;

// What the words hold, and so the maps.
enum class Words { kBytes, kInt16, kBf16 };

// image and dots as NetworkKernel's. scratch: PackedQuantized::scratch_bytes(), on a cache
// line's border, zero before the first image.
using QuantizedKernel = void (*)(const QuantizedNetwork& network, const uint8_t* image, uint8_t* scratch,
                                 float* dots);

void RunInt8Portable(const QuantizedNetwork&, const uint8_t*, uint8_t*, float*);    // kInt16
void RunInt8Avx2(const QuantizedNetwork&, const uint8_t*, uint8_t*, float*);        // kInt16
void RunInt8AvxVnni(const QuantizedNetwork&, const uint8_t*, uint8_t*, float*);     // kBytes
void RunInt8Avx512Vnni(const QuantizedNetwork&, const uint8_t*, uint8_t*, float*);  // kBytes
void RunInt8Amx(const QuantizedNetwork&, const uint8_t*, uint8_t*, float*);         // kBytes
void RunBf16Amx(const QuantizedNetwork&, const uint8_t*, uint8_t*, float*);         // kBf16

// round(127 tanh(v)) = round(v P(v^2)) with |v| held to kTanhLimit; Horner's rule by fused multiply-adds,
// the highest power first. ssr_ops/quantized.py says where the numbers come from.
constexpr float kTanhLimit = 3.2f;
constexpr int kTanhTerms = 9;
constexpr float kTanh127[kTanhTerms] = {
    126.85888671875f,      -41.26609420776367f,     14.479726791381836f,
    -4.08075475692749f,    0.8249973654747009f,     -0.11151786893606186f,
    0.009439040906727314f, -0.0004493427986744791f, 9.147956916422118e-06f};

}  // namespace ssr::cpu
