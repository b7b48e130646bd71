#include "cpu/shrink.h"

#include <algorithm>
#include <numeric>

namespace ssr::cpu {
namespace {

const ShrinkKernels& KernelsFor([[maybe_unused]] Isa isa) {
#ifdef SSR_X86
  if (isa != Isa::kPortable) return ShrinkAvx2();
#endif
  return ShrinkPortable();
}

}  // namespace

void Parts::Cut(int64_t pixels, int64_t all) {
  const int64_t divisor = std::gcd(pixels, all);
  source = pixels / divisor;
  count = all / divisor;
  parts.clear();
  for (int64_t part = 0; part < all; ++part) {
    const int64_t begin = part * source, end = begin + source;
    Part cut;
    cut.first = begin / count;
    cut.last = (end - 1) / count;
    cut.first_weight = static_cast<int32_t>((cut.last > cut.first ? (cut.first + 1) * count : end) - begin);
    cut.last_weight = static_cast<int32_t>(end - cut.last * count);
    parts.push_back(cut);
  }
}

Shrinker::Shrinker(Isa isa) : kernels_(KernelsFor(isa)) {}

void Shrinker::PairPixels() {
  const std::vector<Part>& parts = across_.parts;
  const size_t columns = (parts.size() + kShrinkBlock - 1) / kShrinkBlock * kShrinkBlock;
  pairs_ = 0;
  for (const Part& part : parts) pairs_ = std::max(pairs_, (part.last - part.first + 2) / 2);
  first_.assign(columns, 0);
  weights_.assign(static_cast<size_t>(pairs_) * columns, 0);
  for (size_t x = 0; x < parts.size(); ++x) {
    const Part& part = parts[x];
    first_[x] = static_cast<int32_t>(3 * part.first);
    for (int64_t pixel = part.first; pixel <= part.last; ++pixel) {
      const int64_t weight = pixel == part.first  ? part.first_weight
                             : pixel == part.last ? part.last_weight
                                                  : across_.count;
      const int64_t at = pixel - part.first;
      weights_[static_cast<size_t>(at / 2) * columns + x] |= static_cast<uint32_t>(weight) << at % 2 * 16;
    }
  }
}

void Shrinker::Shrink(const uint8_t* in, int64_t height, int64_t width, int64_t rows, int64_t columns,
                      uint8_t* out) {
  down_.Cut(height, rows);
  across_.Cut(width, columns);
  const int64_t values = width * 3, area = down_.source * across_.source;
  const bool narrow = down_.source <= kNarrowSource && area <= kNarrowArea;
  const ShrinkKernel kernel = narrow                        ? kernels_.narrow
                              : down_.source <= kWideSource ? kernels_.wide
                                                            : kernels_.any;
  pairs_ = 0;
  if (narrow) PairPixels();
  work_.resize(static_cast<size_t>(ShrinkWork(values, pairs_)));
  ShrunkRow row = {};
  row.in = in;
  row.values = values;
  row.down_between = static_cast<int32_t>(down_.count);
  row.across = across_.parts.data();
  row.columns = columns;
  row.across_between = static_cast<int32_t>(across_.count);
  row.area = area;
  row.first = first_.data();
  row.weights = weights_.data();
  row.pairs = pairs_;
  for (int64_t y = 0; y < rows; ++y, out += columns * 3) {
    row.down = &down_.parts[static_cast<size_t>(y)];
    kernel(row, work_.data(), out);
  }
}

}  // namespace ssr::cpu
