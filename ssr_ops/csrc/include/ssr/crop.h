// How a face is cut from a frame, and the cutting: the bits of ssr_client.preprocess.crop_faces.
#pragma once

#include <cstdint>
#include <string>

#include "ssr/frame.h"
#include "ssr/status.h"

namespace ssr {

constexpr int kLandmarks = 5;

// What lies beyond the frame: nothing (the cut is smaller, so the face is stretched), the frame's last pixel
// again, or black.
enum class Border { kClip, kReplicate, kConstant };

// The contract's interface.crop, checked (docs/bundle.md, "The crop").
struct Crop {
  std::string box;  // the detector whose boxes or landmarks are meant: "yunet" or "haar"
  Border border = Border::kClip;
  double margin[4] = {0.4, 0.4, 0.4, 0.4};  // left, top, right, bottom, in box widths and heights
  bool aligned = false;                     // by landmarks, to the template: the margin means nothing then
  double points[kLandmarks][2] = {};        // the template: x, y in pixels of a picture of size x size
  int size = 0;
};

// Cuts `n` faces. boxes: n * 4 (x, y, width, height in pixels of the frame); landmarks: n * 5 * 2 (x, y),
// null unless the crop aligns, and then the boxes, which may be null, are not looked at. crops: n *
// kImageBytes, in RGB order if `rgb`, else BGR. Thread-safe, allocates nothing. Reads and converts only what
// a crop shows (of BGR and RGB two bytes more, never outside the frame), however far the crop reaches.
// kInvalidArgument, with the words of ssr_bundle/crop.py, for a frame that is none, a box that is not finite,
// has no area, is too large or does not meet the frame, and landmarks that are missing, too far or on one
// line; the crops are then of no use.
Status CutFaces(const Frame& frame, const Crop& crop, bool rgb, const float* boxes, const float* landmarks,
                int64_t n, uint8_t* crops);

// The implementation that CutFaces and RowToBgr run now: "portable" where SSR_FORCE_IMPLEMENTATION says so,
// else the best there is. All give the same bits.
const char* CutImplementation();

}  // namespace ssr
