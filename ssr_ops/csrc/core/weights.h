// A float32 network's weights as its kernels read them, on the CPU and on a GPU.
//
// Plain: units of one instruction set include it, see cpu/network.h.
#pragma once

#include "ssr/maps.h"

namespace ssr {

// Channels are padded with zero weights to a multiple of this, so that every vector length divides them.
constexpr int kChannelPad = 16;

constexpr int Padded(int channels) { return (channels + kChannelPad - 1) / kChannelPad * kChannelPad; }

// A valid 3x3 convolution with batch norm folded in. weights: [3 rows][3 * in_stride][width], where a row
// of the kernel and the input channels of its three columns run on as they lie in the picture. Transformed
// they are, in the first layer, [4 rows][9][width], and with `winograd` [36 positions][in_stride][width].
struct Convolution {
  const float* weights;
  const float* bias;  // [width]
  int in_stride;      // floats a pixel of the input
  int width;          // output channels, padded; also floats a pixel of the output
  bool winograd;
};

// Width of the released network's streams, for which the kernels have their fast paths.
constexpr int kReleasedX = 32, kReleasedS = 16;

// Winograd's transforms take polynomials at 0, this, minus this, 1 / this, minus 1 / this, and infinity.
constexpr float kWinogradPoint = 2.0f / 3;

// One stage's fusion block and the dense layers that read its features.
struct StageWeights {
  int level, pool, side;                   // side: of the pooled square of features
  int bins;                                // s_k
  const float *fuse_x, *fuse_s;            // [width of the stream][fusion_width]
  const float *fuse_x_bias, *fuse_s_bias;  // [fusion_width]
  const float *delta, *bins_x, *bins_s;    // [rows][side * side * fusion_width], rows 1, bins, bins
};

struct NetworkWeights {
  Convolution x[kBlocks], s[kBlocks];
  int width_x, width_s, width_fusion;  // padded
  int num_stages;
  StageWeights stages[kBlocks];
};

}  // namespace ssr
