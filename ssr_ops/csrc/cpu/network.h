// The CPU network: packed weights, one image at a time, one kernel per instruction set.
//
// Everything an instruction set's translation unit sees is plain: it must not instantiate inline
// library code, which the linker could then pick for machines that lack the instructions.
#pragma once

#include <cstdint>

namespace ssr::cpu {

constexpr int kMaxTaps = 4;
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

// Scratch of a layer while it runs; a Winograd layer takes most: 36 positions and one to move by, of up to 9
// tiles of up to 32 channels.
constexpr int kWorkFloats = 37 * 9 * 32;

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

// Told after each layer of an image while layers are timed: the first of both streams, x.1, s.1, x.2, s.2,
// x.3, s.3, then one stage after another with all that it runs.
struct LayerProbe {
  void (*done)(LayerProbe* probe);
};

struct NetworkWeights {
  Convolution x[4], s[4];
  int width_x, width_s, width_fusion;  // padded
  int num_stages;
  StageWeights stages[kMaxTaps];
  LayerProbe* probe;  // null except while layers are timed
};

// image: 64 * 64 * 3 bytes, any alignment. scratch: PackedNetwork::scratch_floats(). dots: for each stage,
// without biases, the dense layers' sums: delta, then bins_x, then bins_s (see core/head.h).
using NetworkKernel = void (*)(const NetworkWeights& network, const uint8_t* image, float* scratch,
                               float* dots);

void RunNetworkPortable(const NetworkWeights&, const uint8_t*, float*, float*);
void RunNetworkAvx2(const NetworkWeights&, const uint8_t*, float*, float*);
void RunNetworkAvx512(const NetworkWeights&, const uint8_t*, float*, float*);

// The dense layers of one stage over its `count` fusion features fx and fs; product: count floats of
// scratch. Writes the stage's dots and returns where the next stage's begin.
using SumStageKernel = float* (*)(const StageWeights& stage, int64_t count, const float* fx, const float* fs,
                                  float* product, float* dots);

float* SumStagePortable(const StageWeights&, int64_t, const float*, const float*, float*, float*);
float* SumStageAvx2(const StageWeights&, int64_t, const float*, const float*, float*, float*);
float* SumStageAvx512(const StageWeights&, int64_t, const float*, const float*, float*, float*);

// Independent multiply-adds and nothing else: what the instruction set can do at best on this core, for
// benchmarks. Returns how many were done; *value goes in and out so that none can be left out.
using MultiplyAddKernel = int64_t (*)(int64_t rounds, float* value);

int64_t MultiplyAddPortable(int64_t rounds, float* value);
int64_t MultiplyAddAvx2(int64_t rounds, float* value);
int64_t MultiplyAddAvx512(int64_t rounds, float* value);

}  // namespace ssr::cpu
