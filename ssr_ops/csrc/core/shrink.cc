#include "core/shrink.h"

#include <algorithm>
#include <numeric>

namespace ssr {
namespace {

// Adds weight * in to the sums.
void AddRow(const uint8_t* in, int64_t count, uint32_t weight, bool first, uint32_t* sums) {
  if (first) {
    for (int64_t i = 0; i < count; ++i) sums[i] = weight * in[i];
  } else {
    for (int64_t i = 0; i < count; ++i) sums[i] += weight * in[i];
  }
}

// Calls visit(index, weight, first) for each pixel of a part, weight in units of 1 / parts.count of a pixel.
template <typename Visit>
void EachPixel(const Parts& parts, int64_t part, Visit visit) {
  const int64_t begin = part * parts.source, end = begin + parts.source;
  for (int64_t i = begin / parts.count; i * parts.count < end; ++i) {
    const int64_t from = std::max(begin, i * parts.count), to = std::min(end, (i + 1) * parts.count);
    visit(i, to - from, from == begin);
  }
}

// Means along a row of sums; Sum holds twice the largest sum.
template <typename Sum>
void Means(const uint32_t* sums, const Parts& across, Sum area, int64_t columns, uint8_t* out) {
  const double reciprocal = 1 / static_cast<double>(2 * area);
  for (int64_t x = 0; x < columns; ++x, out += 3) {
    Sum total[3] = {0, 0, 0};
    EachPixel(across, x, [&](int64_t i, int64_t weight, bool) {
      for (int c = 0; c < 3; ++c) total[c] += static_cast<Sum>(weight) * sums[3 * i + c];
    });
    for (int c = 0; c < 3; ++c) {
      const Sum twice = 2 * total[c] + area;
      Sum mean = static_cast<Sum>(static_cast<double>(twice) * reciprocal);
      if (mean * 2 * area > twice) --mean;  // the product was rounded up
      if ((mean + 1) * 2 * area <= twice) ++mean;
      out[c] = static_cast<uint8_t>(mean);
    }
  }
}

}  // namespace

Parts::Parts(int64_t source_, int64_t count_)
    : source(source_ / std::gcd(source_, count_)), count(count_ / std::gcd(source_, count_)) {}

void Shrinker::Shrink(const uint8_t* in, int64_t height, int64_t width, int64_t rows, int64_t columns,
                      uint8_t* out) {
  const Parts down(height, rows), across(width, columns);
  const int64_t values = width * 3, area = down.source * across.source;
  sums_.resize(static_cast<size_t>(values));
  for (int64_t y = 0; y < rows; ++y, out += columns * 3) {
    EachPixel(down, y, [&](int64_t i, int64_t weight, bool first) {
      AddRow(in + i * values, values, static_cast<uint32_t>(weight), first, sums_.data());
    });
    if (area < (1 << 22)) {
      Means<uint32_t>(sums_.data(), across, static_cast<uint32_t>(area), columns, out);
    } else {
      Means<uint64_t>(sums_.data(), across, static_cast<uint64_t>(area), columns, out);
    }
  }
}

}  // namespace ssr
