// The entries of cutting: geometry first, then the kernels of the instruction set.
#include "cpu/cut.h"

#include <cstdlib>
#include <cstring>

#include "ssr/implementation.h"

namespace ssr {
namespace {

// An implementation that is forced for an engine may be none of ours: all but "portable" is the best there
// is.
bool UseAvx2() {
#ifdef SSR_X86
  static const bool has_avx2 = [] {
    for (const Isa isa : SupportedIsas()) {
      if (isa == Isa::kAvx2) return true;
    }
    return false;
  }();
  const char* forced = std::getenv("SSR_FORCE_IMPLEMENTATION");
  return has_avx2 && (forced == nullptr || std::strcmp(forced, IsaName(Isa::kPortable)) != 0);
#else
  return false;
#endif
}

const cpu::CutKernels& Kernels() {
#ifdef SSR_X86
  if (UseAvx2()) return cpu::CutAvx2();
#endif
  return cpu::CutPortable();
}

Status CutWith(const cpu::CutKernels& kernels, const Frame& frame, const Crop& crop, bool rgb,
               const float* boxes, const float* landmarks, int64_t n, uint8_t* crops) {
  const bool swap = rgb != (frame.format == FrameFormat::kRgb);
  for (int64_t m = 0; m < n; ++m) {
    uint8_t* const out = crops + m * kImageBytes;
    if (crop.aligned) {
      Grid grid;
      SSR_RETURN_IF_ERROR(FindGrid(landmarks + m * 2 * kLandmarks, crop, m, &grid));
      kernels.cut_aligned(frame, grid, crop.border, swap, out);
    } else {
      Part part;
      SSR_RETURN_IF_ERROR(FindPart(boxes + m * 4, crop, frame.height, frame.width, m, &part));
      kernels.cut_part(frame, part, crop.border, swap, out);
    }
  }
  return {};
}

}  // namespace

Status CutFaces(const Frame& frame, const Crop& crop, bool rgb, const float* boxes, const float* landmarks,
                int64_t n, uint8_t* crops) {
  SSR_RETURN_IF_ERROR(CheckFrame(frame));
  if (n > 0 && crop.aligned && landmarks == nullptr) {
    return {Code::kInvalidArgument,
            "this crop aligns faces by five landmarks each: " + std::to_string(n) + " expected, got 0"};
  }
  return CutWith(Kernels(), frame, crop, rgb, boxes, landmarks, n, crops);
}

void RowToBgr(const Frame& frame, int64_t row, uint8_t* out) { Kernels().row_to_bgr(frame, row, out); }

const char* CutImplementation() { return IsaName(UseAvx2() ? Isa::kAvx2 : Isa::kPortable); }

}  // namespace ssr
