// A row of a shrunk picture, once for each instruction set; all give the same bits.
//
// Plain, as cpu/network.h is: an instruction set's translation unit must not instantiate inline library code.
#pragma once

#include <cstdint>

namespace ssr::cpu {

// The pixels of a side's part: the first and the last by their weights, those between by the number of parts.
// All in units of 1 / that number of a pixel.
struct Part {
  int64_t first, last;  // indices
  int32_t first_weight, last_weight;
};

// Columns that narrow kernels make at once.
constexpr int64_t kShrinkBlock = 4;

struct ShrunkRow {
  const uint8_t* in;     // the picture: rows of `values` bytes
  int64_t values;        // 3 each pixel
  const Part* down;      // the rows that it is made of
  int32_t down_between;  // weight of a row between the first and the last
  const Part* across;    // [columns]
  int64_t columns;       // of the result
  int32_t across_between;
  int64_t area;  // units of a part

  // Narrow rows: the same as `across`, small and in whole blocks, behind the last column any of the row.
  const int32_t* first;     // [blocks][kShrinkBlock], 3 times a part's first pixel
  const uint32_t* weights;  // [pairs][blocks][kShrinkBlock], of two pixels 16 bits each, the left one's low
  int64_t pairs;            // of pixels that a part meets at most
};

// Narrow: 16-bit sums of rows, float32 means. Wide: float32 sums, float64 means. Else float64 both. See
// shrink.inl.h.
constexpr int64_t kNarrowSource = 32767 / 255, kNarrowArea = 8000, kWideSource = (1 << 24) / 255;

// work: ShrinkWork(values, pairs) bytes for the sums of a row, of any content. out: row.columns * 3 bytes.
using ShrinkKernel = void (*)(const ShrunkRow& row, void* work, uint8_t* out);

struct ShrinkKernels {
  ShrinkKernel narrow, wide, any;
};

// (A row's pairs may begin at its last pixel, and 16 bytes are read of each.)
constexpr int64_t ShrinkWork(int64_t values, int64_t pairs) { return 8 * (values + 6 * pairs + 8); }

const ShrinkKernels& ShrinkPortable();
const ShrinkKernels& ShrinkAvx2();

}  // namespace ssr::cpu
