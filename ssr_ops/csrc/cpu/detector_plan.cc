// What each link of a chain has to make for a rectangle of the last one's output.
#include <algorithm>

#include "cpu/detector_network.h"

namespace ssr::cpu {
namespace {

constexpr int64_t kBlock = 4, kLine = 16;  // columns that are computed at once; floats of a cache line

int64_t RoundUp(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

}  // namespace

ChainPlan PlanChain(const DetectorChain& chain, const Rectangle& rectangle) {
  ChainPlan plan = {};
  plan.rectangle = rectangle;
  int top = rectangle.top, left = rectangle.left, right = rectangle.right;
  int64_t floats = 0;
  const auto take = [&](int64_t count) {
    const int64_t at = floats;
    floats += RoundUp(count, kLine);
    return at;
  };
  for (int i = chain.count - 1; i >= 0; --i) {
    const DetectorChain::Link& link = chain.links[i];
    ChainPlan::Link& planned = plan.links[i];
    planned.top = top;
    planned.left = left;
    planned.right = right;
    planned.row = (RoundUp(right - left, kBlock) + 2) * link.unit.out;
    planned.ring = take(4 * planned.row);
    // What it reads: a row and a column more on each side, where the map has them.
    top -= 1;
    left = std::max(left - 1, 0);
    right = std::min(right + 1, link.width);
    if (i > 0 && chain.links[i - 1].pool) top *= 2, left *= 2, right *= 2;
  }
  plan.source_left = left;
  plan.source_right = right;
  plan.tile = take(kTileFloats);
  if (chain.stem != nullptr) {
    plan.pixel_row = RoundUp((int64_t{2} * (right - left) + 1) * 3, kLine);
    plan.pixels = take(3 * plan.pixel_row);
  }
  plan.floats = floats;
  return plan;
}

}  // namespace ssr::cpu
