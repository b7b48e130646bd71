// A request in mode `frame`: a frame, what its bytes mean, and perhaps the boxes of its faces.
#pragma once

#include <cstdint>
#include <vector>

#include "ssr/crop.h"
#include "ssr/detector.h"
#include "ssr/frame.h"
#include "triton/request.h"

namespace ssr::triton {

// The faces of a frame, as many as its request has rows.
struct Faces {
  std::vector<float> boxes;      // (n, 4)
  std::vector<float> scores;     // (n), empty where the boxes came with the request
  std::vector<float> landmarks;  // (n, 5, 2), or empty
};

struct FrameRequest {
  Request request;
  Frame frame;
  SearchOptions search;  // where no boxes are given
  bool given = false;    // whether boxes are
  bool pointed = false;  // whether landmarks are
  Faces faces;
  std::vector<uint8_t> copied;  // the frame's bytes, unless they lie in one piece already
};

// Reads all of it; `request.handle` is set. What the bytes cannot say is asked for.
Error ReadFrameRequest(const ModelState& state, FrameRequest* request);

}  // namespace ssr::triton
