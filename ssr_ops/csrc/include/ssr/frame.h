// A frame of a camera or a file, as its decoder left it in memory.
#pragma once

#include <cstdint>

#include "ssr/status.h"

namespace ssr {

// kBgr, kRgb: `height` rows of `width` pixels of three bytes. kNv12: `height` rows of `width` bytes of luma,
// then height / 2 rows of width / 2 pairs of chroma (U, V), each pair of 2 x 2 pixels; both sides are even.
enum class FrameFormat { kBgr, kRgb, kNv12 };

// What NV12's numbers mean: the standard, and whether luma goes from 16 to 235 or from 0 to 255.
enum class YuvMatrix { kBt601, kBt709 };
enum class YuvRange { kLimited, kFull };

// Rows follow each other without a gap.
struct Frame {
  const uint8_t* data = nullptr;
  int64_t height = 0, width = 0;  // pixels
  FrameFormat format = FrameFormat::kBgr;
  YuvMatrix matrix = YuvMatrix::kBt601;  // of NV12 only, as is the range
  YuvRange range = YuvRange::kLimited;
};

constexpr int64_t kMaxFrameSide = int64_t{1} << 24;

// kInvalidArgument for a frame without pixels, too long a side, or an odd one of NV12.
Status CheckFrame(const Frame& frame);

// Bytes from `data` on of a frame that CheckFrame lets pass.
int64_t FrameBytes(const Frame& frame);

// A row of pixels as BGR: 3 * width bytes, the bits of ssr_bundle/nv12.py. The frame has passed CheckFrame.
void RowToBgr(const Frame& frame, int64_t row, uint8_t* out);

}  // namespace ssr
