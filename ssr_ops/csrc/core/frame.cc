#include "ssr/frame.h"

#include <string>

#include "core/yuv.h"

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

const YuvFactors& FactorsOf(YuvMatrix matrix, YuvRange range) {
  static constexpr YuvFactors kFactors[2][2] = {
      {{16, 1220542, 2116026, -409993, -852492, 1673527}, {0, 1048576, 1858077, -360853, -748826, 1470104}},
      {{16, 1220945, 2215014, -223607, -558796, 1879825}, {0, 1048576, 1945738, -196424, -490864, 1651297}}};
  return kFactors[matrix == YuvMatrix::kBt709 ? 1 : 0][range == YuvRange::kFull ? 1 : 0];
}

}  // namespace ssr
