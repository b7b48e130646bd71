// The CPU's float32 kernels: packed weights, one image at a time, one kernel per instruction set.
//
// Everything an instruction set's translation unit sees is plain: it must not instantiate inline
// library code, which the linker could then pick for machines that lack the instructions.
#pragma once

#include <cstdint>

#include "core/weights.h"

// What benchmarks time layers by, in kernels of their own (benchmarks/native): stands after each layer of an
// image. The first of both streams, x.1, s.1, x.2, s.2, x.3, s.3, then one stage after another with all that
// it runs.
#ifndef SSR_LAYER_DONE
#define SSR_LAYER_DONE()
#endif

namespace ssr::cpu {

// Scratch of a layer while it runs; a Winograd layer takes most: 36 positions and one to move by, of up to 9
// tiles of up to 32 channels.
constexpr int kWorkFloats = 37 * 9 * 32;

// image: kImageBytes, any alignment. scratch: see ScratchFloats in cpu/prepared.cc. dots: for each stage,
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

// A kernel's entries, in the file that includes network.inl.h.
#define SSR_NETWORK_ENTRIES(Name)                                                                           \
  void RunNetwork##Name(const NetworkWeights& network, const uint8_t* image, float* scratch, float* dots) { \
    RunNetwork(network, image, scratch, dots);                                                              \
  }                                                                                                         \
  float* SumStage##Name(const StageWeights& stage, int64_t count, const float* fx, const float* fs,         \
                        float* product, float* dots) {                                                      \
    return SumStage(stage, count, fx, fs, product, dots);                                                   \
  }

}  // namespace ssr::cpu
