#include "ssr/frame.h"

#include <string>

namespace ssr {

Status CheckFrame(const Frame& frame) {
  const std::string size = std::to_string(frame.width) + " x " + std::to_string(frame.height);
  if (frame.height < 1 || frame.width < 1) {
    return {Code::kInvalidArgument, "frame: it has no pixels, width x height " + size};
  }
  if (frame.height > kMaxFrameSide || frame.width > kMaxFrameSide) {
    return {Code::kInvalidArgument, "frame: width x height " + size + ", expected at most " +
                                        std::to_string(kMaxFrameSide) + " pixels a side"};
  }
  if (frame.format == FrameFormat::kNv12 && (frame.height % 2 != 0 || frame.width % 2 != 0)) {
    return {Code::kInvalidArgument, "frame: width x height " + size + ", but both sides of NV12 are even"};
  }
  if (frame.data == nullptr) return {Code::kInvalidArgument, "frame: it has no data"};
  return {};
}

int64_t FrameBytes(const Frame& frame) {
  const int64_t pixels = frame.height * frame.width;
  return frame.format == FrameFormat::kNv12 ? pixels / 2 * 3 : pixels * 3;
}

}  // namespace ssr
