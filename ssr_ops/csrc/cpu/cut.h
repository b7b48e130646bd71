// The sampling of crops and the conversion of frames, once for each instruction set; all give the same bits.
#pragma once

#include <cstdint>

#include "core/crop_geometry.h"
#include "ssr/frame.h"

namespace ssr::cpu {

struct CutKernels {
  // `part`, which meets the frame, and the crop whose pixels lie as `grid` says; beyond the frame `border`.
  // crop: kImageBytes; blue and red change places where `swap`.
  void (*cut_part)(const Frame&, const Part& part, Border border, bool swap, uint8_t* crop);
  void (*cut_aligned)(const Frame&, const Grid& grid, Border border, bool swap, uint8_t* crop);
  // ssr::RowToBgr.
  void (*row_to_bgr)(const Frame&, int64_t row, uint8_t* out);
};

const CutKernels& CutPortable();
const CutKernels& CutAvx2();

}  // namespace ssr::cpu
