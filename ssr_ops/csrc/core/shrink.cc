#include "core/shrink.h"

#include <cstring>
#include <numeric>

namespace ssr {
namespace {

typedef float Four __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));

// Sums of a column that 16 bits hold, and of an area that float32 holds to twice and a half.
constexpr int64_t kShortSource = 65535 / 255, kFloatArea = (1 << 24) / 511 - 1;

// One row of weighted sums of a part's rows.
template <typename Sum>
void SumRows(const uint8_t* in, int64_t values, const Parts& down, const Part& part, Sum* sums) {
  const auto weight = static_cast<Sum>(part.first_weight);
  const uint8_t* row = in + part.first * values;
  for (int64_t i = 0; i < values; ++i) sums[i] = static_cast<Sum>(weight * row[i]);
  for (int64_t y = part.first + 1; y <= part.last; ++y) {
    const auto next = static_cast<Sum>(y == part.last ? part.last_weight : down.count);
    row = in + y * values;
    for (int64_t i = 0; i < values; ++i) sums[i] = static_cast<Sum>(sums[i] + next * row[i]);
  }
}

// Means along a row of sums; every sum and twice the largest of an area is a whole number of float32.
void FloatMeans(const float* sums, const Parts& across, int64_t area_, uint8_t* out) {
  const auto area = static_cast<float>(area_), count = static_cast<float>(across.count);
  const float reciprocal = 1 / area;
  const auto load = [&](int64_t pixel) {  // a fourth value follows, which nobody needs
    Four four;
    std::memcpy(&four, sums + 3 * pixel, sizeof(four));
    return four;
  };
  for (const Part& part : across.parts) {
    Four total = load(part.first) * static_cast<float>(part.first_weight);
    if (part.last > part.first) {
      Four between = {};
      for (int64_t i = part.first + 1; i < part.last; ++i) between += load(i);
      total += between * count + load(part.last) * static_cast<float>(part.last_weight);
    }
    FourInts mean = __builtin_convertvector(total * reciprocal + 0.5f, FourInts);
    // The quotient was rounded: 0 <= 2 * total + area - 2 * area * mean < 2 * area holds the right one.
    const Four rest = 2 * total + area - 2 * area * __builtin_convertvector(mean, Four);
    mean += (FourInts)(rest < Four{});  // true: -1
    mean -= (FourInts)(rest >= 2 * area + Four{});
    for (int c = 0; c < 3; ++c) *out++ = static_cast<uint8_t>(mean[c]);
  }
}

void WholeMeans(const uint32_t* sums, const Parts& across, uint64_t area, uint8_t* out) {
  const double reciprocal = 1 / static_cast<double>(2 * area);
  for (const Part& part : across.parts) {
    for (int c = 0; c < 3; ++c) {
      uint64_t total = static_cast<uint64_t>(part.first_weight) * sums[3 * part.first + c];
      if (part.last > part.first) {
        uint64_t between = 0;
        for (int64_t i = part.first + 1; i < part.last; ++i) between += sums[3 * i + c];
        total += between * static_cast<uint64_t>(across.count) +
                 static_cast<uint64_t>(part.last_weight) * sums[3 * part.last + c];
      }
      const uint64_t twice = 2 * total + area;
      auto mean = static_cast<uint64_t>(static_cast<double>(twice) * reciprocal);
      if (mean * 2 * area > twice) --mean;  // the quotient was rounded
      if ((mean + 1) * 2 * area <= twice) ++mean;
      *out++ = static_cast<uint8_t>(mean);
    }
  }
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

void Shrinker::Shrink(const uint8_t* in, int64_t height, int64_t width, int64_t rows, int64_t columns,
                      uint8_t* out) {
  down_.Cut(height, rows);
  across_.Cut(width, columns);
  const int64_t values = width * 3, area = down_.source * across_.source;
  const auto size = static_cast<size_t>(values);
  const bool small = down_.source <= kShortSource && area <= kFloatArea;
  if (small) {
    shorts_.resize(size);
    floats_.resize(size + 1);
  } else {
    sums_.resize(size);
  }
  for (const Part& part : down_.parts) {
    if (small) {
      SumRows(in, values, down_, part, shorts_.data());
      for (size_t i = 0; i < size; ++i) floats_[i] = shorts_[i];
      FloatMeans(floats_.data(), across_, area, out);
    } else {
      SumRows(in, values, down_, part, sums_.data());
      WholeMeans(sums_.data(), across_, static_cast<uint64_t>(area), out);
    }
    out += columns * 3;
  }
}

}  // namespace ssr
