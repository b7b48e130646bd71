// Cutting and converting with the kernels of one instruction set. What a kernel set K has:
//   Columns      made of a PairTable, holds it in the form that Along wants
//   Along        64 blends of two pixels beside each other: sums of 64 x 4 numbers (blue, green, red, any)
//   Mix          two rows of sums, weighed, as 192 bytes
//   MixPairs     64 blends of four pixels, each with its own weights, as 192 bytes
//   Convert      luma and pairs of chroma to pixels of four bytes (blue, green, red, 0)
//   Pack         pixels of four bytes to three, blue and red changing places if asked
// Every 8 bytes at a pixel that a table or pointer names may be read.
#include <algorithm>
#include <cstring>

#include "core/yuv.h"
#include "cpu/cut.h"

namespace ssr::cpu {
namespace {

// Two pixels beside each other, for each column of a crop: where 8 bytes with both begin in a row, where
// among these the pixels begin, and their weights.
struct PairTable {
  int64_t offset[kImageSize];
  uint8_t first[kImageSize], second[kImageSize];
  int16_t weight[kImageSize][2];
};

// Pixels `base` and base + 1 of a row that are blended. A row of one pixel has no second one: it weighs 0.
struct Pair {
  int64_t base;
  int16_t weight[2];
};

inline Pair PairOf(const Blend& blend, int64_t width) {
  Pair pair = {std::max(std::min(blend.first, width - 2), int64_t{0}), {0, 0}};
  pair.weight[blend.first - pair.base] = static_cast<int16_t>(blend.first_weight);
  int16_t& second = pair.weight[blend.second - pair.base];
  second = static_cast<int16_t>(second + blend.second_weight);
  return pair;
}

// Whether 8 bytes with any two pixels lie in a row of them.
inline bool IsDirect(const Frame& frame) { return frame.format != FrameFormat::kNv12 && frame.width >= 3; }

inline const uint8_t* RowOf(const Frame& frame, int64_t row) {
  return frame.data + row * frame.width * (frame.format == FrameFormat::kNv12 ? 1 : 3);
}

// Pixels base and base + 1 of 64 places, those of place i in row rows[i * step], as four bytes each.
template <class K>
void Gather(const Frame& frame, const int64_t* rows, int step, const int64_t* bases, uint32_t* pixels) {
  if (frame.format != FrameFormat::kNv12) {
    for (int i = 0; i < kImageSize; ++i) {
      const uint8_t* row = RowOf(frame, rows[i * step]);
      for (int k = 0; k < 2; ++k) {
        const uint8_t* pixel = row + 3 * std::min(bases[i] + k, frame.width - 1);
        pixels[2 * i + k] = static_cast<uint32_t>(pixel[0] | pixel[1] << 8 | pixel[2] << 16);
      }
    }
    return;
  }
  alignas(32) uint8_t luma[2 * kImageSize], chroma[4 * kImageSize];
  const uint8_t* all_chroma = RowOf(frame, frame.height);
  for (int i = 0; i < kImageSize; ++i) {
    const int64_t row = rows[i * step], base = bases[i], even = base & ~int64_t{1};
    const uint8_t* pairs = all_chroma + row / 2 * frame.width;
    std::memcpy(luma + 2 * i, RowOf(frame, row) + base, 2);
    std::memcpy(chroma + 4 * i, pairs + even, 2);
    std::memcpy(chroma + 4 * i + 2, pairs + (even == base ? base : base + 1), 2);
  }
  K::Convert(luma, chroma, 2 * kImageSize, FactorsOf(frame.matrix, frame.range), pixels);
}

template <class K>
void CutPart(const Frame& frame, const Part& part, Border border, bool swap, uint8_t* crop) {
  Blend rows[kImageSize], columns[kImageSize];
  FindBlends(part.rows, frame.height, border, rows);
  FindBlends(part.columns, frame.width, border, columns);
  const bool direct = IsDirect(frame);
  int64_t bases[kImageSize];
  PairTable table;
  for (int u = 0; u < kImageSize; ++u) {
    const Pair pair = PairOf(columns[u], frame.width);
    const int64_t begin = 3 * pair.base, last = 3 * frame.width - 8;
    bases[u] = pair.base;
    table.offset[u] = direct ? std::min(begin, last) : 8 * u;
    table.first[u] = static_cast<uint8_t>(direct ? begin - table.offset[u] : 0);
    table.second[u] = static_cast<uint8_t>(direct ? table.first[u] + 3 : 4);
    std::memcpy(table.weight[u], pair.weight, sizeof(pair.weight));
  }
  const typename K::Columns prepared(table);
  alignas(64) uint32_t pixels[2 * kImageSize];
  alignas(64) int16_t sums[2][4 * kImageSize];
  int64_t held[2] = {-1, -1};  // the row of the frame in each of the sums: neighbours lie in different ones
  const auto sums_of = [&](int64_t row) -> const int16_t* {
    if (held[row & 1] != row) {
      held[row & 1] = row;
      if (!direct) Gather<K>(frame, &row, 0, bases, pixels);
      K::Along(direct ? RowOf(frame, row) : reinterpret_cast<const uint8_t*>(pixels), prepared,
               sums[row & 1]);
    }
    return sums[row & 1];
  };
  for (int v = 0; v < kImageSize; ++v) {
    const Blend& row = rows[v];
    const int16_t* first = sums_of(row.first);
    K::Mix(first, sums_of(row.second), row.first_weight, row.second_weight, swap, crop + v * kImageRow);
  }
}

// A row of an aligned crop: 8 bytes with two pixels each, of the upper and the lower row, and the weights.
struct PairRow {
  const uint8_t *upper[kImageSize], *lower[kImageSize];
  alignas(32) int16_t along[kImageSize][2];
  alignas(32) int32_t down[2][kImageSize];
};

// Whether all that lies at `grid` is at least a pixel and its three neighbours, with 8 bytes each, inside.
inline bool IsInside(const Frame& frame, const Grid& grid) {
  for (const int64_t u : {0, kImageSize - 1}) {
    for (const int64_t v : {0, kImageSize - 1}) {
      const int64_t column = (grid.x + u * grid.dx - v * grid.dy) >> kPositionBits;
      const int64_t row = (grid.y + u * grid.dy + v * grid.dx) >> kPositionBits;
      if (column < 0 || column > frame.width - 3 || row < 0 || row > frame.height - 2) return false;
    }
  }
  return true;
}

template <class K>
void CutAligned(const Frame& frame, const Grid& grid, Border border, bool swap, uint8_t* crop) {
  constexpr int kOne = 1 << kWeightBits;
  const bool direct = IsDirect(frame), inside = direct && IsInside(frame, grid);
  const int second = direct ? 3 : 4;
  alignas(64) uint32_t pixels[2][2 * kImageSize];
  int64_t bases[kImageSize], rows[2][kImageSize];
  PairRow pairs;
  for (int v = 0; v < kImageSize; ++v) {
    int64_t x = grid.x - v * grid.dy, y = grid.y + v * grid.dx;
    for (int u = 0; u < kImageSize; ++u, x += grid.dx, y += grid.dy) {
      if (inside) {
        const auto w = static_cast<int16_t>(x >> (kPositionBits - kWeightBits) & (kOne - 1));
        const auto h = static_cast<int32_t>(y >> (kPositionBits - kWeightBits) & (kOne - 1));
        pairs.upper[u] = frame.data + 3 * ((y >> kPositionBits) * frame.width + (x >> kPositionBits));
        pairs.lower[u] = pairs.upper[u] + 3 * frame.width;
        pairs.along[u][0] = static_cast<int16_t>(kOne - w), pairs.along[u][1] = w;
        pairs.down[0][u] = kOne - h, pairs.down[1][u] = h;
        continue;
      }
      const Blend down = BlendAt(y, frame.height, border);
      const Pair pair = PairOf(BlendAt(x, frame.width, border), frame.width);
      std::memcpy(pairs.along[u], pair.weight, sizeof(pair.weight));
      pairs.down[0][u] = down.first_weight, pairs.down[1][u] = down.second_weight;
      bases[u] = pair.base, rows[0][u] = down.first, rows[1][u] = down.second;
      const auto place = [&](const int64_t row, int k) {
        const uint8_t* found = reinterpret_cast<const uint8_t*>(&pixels[k][2 * u]);
        if (direct && pair.base <= frame.width - 3) return RowOf(frame, row) + 3 * pair.base;
        if (direct) std::memcpy(&pixels[k][2 * u], RowOf(frame, row) + 3 * pair.base, 6);
        return found;
      };
      pairs.upper[u] = place(down.first, 0), pairs.lower[u] = place(down.second, 1);
    }
    if (!direct) {
      for (int k = 0; k < 2; ++k) Gather<K>(frame, rows[k], 1, bases, pixels[k]);
    }
    K::MixPairs(pairs, second, swap, crop + v * kImageRow);
  }
}

template <class K>
void ConvertRow(const Frame& frame, int64_t row, uint8_t* out) {
  constexpr int64_t kBlock = 64;
  alignas(64) uint32_t pixels[kBlock];
  alignas(32) uint8_t luma[kBlock] = {}, chroma[2 * kBlock] = {}, packed[3 * kBlock];
  const uint8_t* from = RowOf(frame, row);
  if (frame.format == FrameFormat::kBgr) {
    std::memcpy(out, from, static_cast<size_t>(3 * frame.width));
    return;
  }
  if (frame.format == FrameFormat::kRgb) {
    for (int64_t i = 0; i < 3 * frame.width; i += 3) {
      out[i] = from[i + 2], out[i + 1] = from[i + 1], out[i + 2] = from[i];
    }
    return;
  }
  const uint8_t* pairs = RowOf(frame, frame.height) + row / 2 * frame.width;
  const YuvFactors& factors = FactorsOf(frame.matrix, frame.range);
  for (int64_t begin = 0; begin < frame.width; begin += kBlock) {
    const auto count = static_cast<int>(std::min(kBlock, frame.width - begin));
    std::memcpy(luma, from + begin, static_cast<size_t>(count));
    for (int i = 0; i < count; i += 2) {
      std::memcpy(chroma + 2 * i, pairs + begin + i, 2);
      std::memcpy(chroma + 2 * i + 2, pairs + begin + i, 2);
    }
    K::Convert(luma, chroma, kBlock, factors, pixels);  // of the last block more than there is
    K::Pack(reinterpret_cast<const uint8_t*>(pixels), false, packed);
    std::memcpy(out + 3 * begin, packed, static_cast<size_t>(3 * count));
  }
}

template <class K>
constexpr CutKernels kCutKernels = {CutPart<K>, CutAligned<K>, ConvertRow<K>};

}  // namespace
}  // namespace ssr::cpu
