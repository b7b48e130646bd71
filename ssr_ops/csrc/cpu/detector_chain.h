// The detector's float32 kernels: a chain of units over a rectangle of a map, one kernel an instruction set.
//
// Plain, as cpu/network.h is: an instruction set's translation unit must not instantiate inline library code.
#pragma once

#include <cstdint>

namespace ssr::cpu {

// Maps are (row, column, channel), with one of these numbers of channels.
constexpr int kFewChannels = 16, kManyChannels = 64;

// A 1x1 convolution, then a 3x3 one of each channel by itself with zeros around the map, then ReLU.
struct DetectorUnit {
  const float* point;       // [in][out]
  const float* point_bias;  // [out]
  const float* depth;       // [3 rows * 3 columns][out]
  const float* depth_bias;  // [out]
  int in, out;
  bool relu;
};

// A 3x3 convolution of stride 2 with a zero around the frame, then ReLU.
struct DetectorStem {
  const float* weights;  // [3 rows][3 columns * 3 colours, as they lie in the frame][kFewChannels]
  const float* bias;     // [kFewChannels]
};

struct DetectorMap {
  float* data;
  int height, width;
};

constexpr int kLongestChain = 5;

// Units that run one after another, a pair of rows at a time, with nothing stored between them but four rows
// of each 1x1 convolution's output.
struct DetectorChain {
  // What the first unit reads: the stem's output on a frame, or else a map of its input channels and, if
  // there is one, a map of half the size to add, each value of it four times.
  const DetectorStem* stem;
  const uint8_t* frame;  // (frame_height, frame_width, 3); zeros follow right and below
  int frame_height, frame_width;
  const float *source, *halved;

  struct Link {
    DetectorUnit unit;
    int height, width;  // of its input and output
    bool pool;          // the maximum of 2x2 cells, after ReLU
    float* stored;      // (height, width, out): its output before a pool, or null
  };
  Link links[kLongestChain];
  int count;
  float* pooled;  // of the last link, if that pools: (height / 2, width / 2, out)
};

// Of the last link's output, before its pool; even where that pools.
struct Rectangle {
  int top, bottom, left, right;
};

// How a chain computes a rectangle: what each link has to make of its own output, and where it keeps its
// rows.
struct ChainPlan {
  struct Link {
    int top;          // the first pair's upper row, -1 or less where rows are missing
    int left, right;  // columns
    int64_t ring;  // floats into the work: four rows of columns left - 1 .. right, and room for a block more
    int64_t row;   // floats a row of the ring
  };
  Rectangle rectangle;
  Link links[kLongestChain];
  int source_left, source_right;  // columns of the first link's input
  int64_t pixels;                 // three rows of the frame as floats, at this place in the work
  int64_t pixel_row;
  int64_t tile;    // kTileFloats
  int64_t floats;  // of all the work
};

// What a few columns of a pair of rows take between two units: two rows and the pooled one.
constexpr int kTileFloats = 3 * 768;
constexpr int TileColumns(int channels) { return 768 / channels; }

// work: plan.floats on a cache line's border, of any content.
using ChainKernel = void (*)(const DetectorChain& chain, const ChainPlan& plan, float* work);

void RunChainPortable(const DetectorChain&, const ChainPlan&, float*);
void RunChainAvx2(const DetectorChain&, const ChainPlan&, float*);
void RunChainAvx512(const DetectorChain&, const ChainPlan&, float*);

}  // namespace ssr::cpu
