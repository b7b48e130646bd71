// Cutting and converting with the kernels of one instruction set. What a kernel set K has:
//   Columns      made of a PairTable, holds it in the form that Along wants
//   Along        64 blends of two pixels beside each other: sums of 64 x 4 numbers (blue, green, red, any)
//   Mix          two rows of sums, weighed, as 192 bytes
//   MixPairs     64 blends of four pixels, each with its own weights, as 192 bytes
//   Convert      luma and pairs of chroma to pixels of four bytes (blue, green, red, 0)
//   Pack         64 pixels of four bytes to three
//   Swap         blue and red of some of the first pixels of three bytes; how many
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
    const uint8_t* pairs = all_chroma + (row >> 1) * frame.width;
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
  const uint8_t* at[2][kImageSize];
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

// Weights and places of a row's pixels that begin at x, y, where all of them are inside the frame.
inline void PlaceInside(const Grid& grid, int64_t x, int64_t y, PairRow* pairs, int64_t* bases,
                        int64_t* rows) {
  constexpr int kOne = 1 << kWeightBits, kShift = kPositionBits - kWeightBits;
  for (int u = 0; u < kImageSize; ++u, x += grid.dx, y += grid.dy) {
    const auto w = static_cast<int16_t>(x >> kShift & (kOne - 1));
    const auto h = static_cast<int32_t>(y >> kShift & (kOne - 1));
    pairs->along[u][0] = static_cast<int16_t>(kOne - w), pairs->along[u][1] = w;
    pairs->down[0][u] = kOne - h, pairs->down[1][u] = h;
    bases[u] = x >> kPositionBits, rows[u] = y >> kPositionBits, rows[kImageSize + u] = rows[u] + 1;
  }
}

// The same wherever they are.
inline void PlaceAnywhere(const Frame& frame, const Grid& grid, Border border, int64_t x, int64_t y,
                          PairRow* pairs, int64_t* bases, int64_t* rows) {
  for (int u = 0; u < kImageSize; ++u, x += grid.dx, y += grid.dy) {
    const Blend down = BlendAt(y, frame.height, border);
    const Pair pair = PairOf(BlendAt(x, frame.width, border), frame.width);
    std::memcpy(pairs->along[u], pair.weight, sizeof(pair.weight));
    pairs->down[0][u] = down.first_weight, pairs->down[1][u] = down.second_weight;
    bases[u] = pair.base, rows[u] = down.first, rows[kImageSize + u] = down.second;
  }
}

template <class K>
void CutAligned(const Frame& frame, const Grid& grid, Border border, bool swap, uint8_t* crop) {
  const bool direct = IsDirect(frame), inside = IsInside(frame, grid);
  alignas(64) uint32_t pixels[2][2 * kImageSize];
  int64_t bases[kImageSize], rows[2 * kImageSize];
  PairRow pairs;
  for (int v = 0; v < kImageSize; ++v) {
    const int64_t x = grid.x - v * grid.dy, y = grid.y + v * grid.dx;
    if (inside) {
      PlaceInside(grid, x, y, &pairs, bases, rows);
    } else {
      PlaceAnywhere(frame, grid, border, x, y, &pairs, bases, rows);
    }
    for (int k = 0; k < 2; ++k) {
      const uint8_t** const at = pairs.at[k];
      if (!direct) Gather<K>(frame, rows + k * kImageSize, 1, bases, pixels[k]);
      for (int u = 0; u < kImageSize; ++u) {
        auto* const copied = reinterpret_cast<uint8_t*>(&pixels[k][2 * u]);
        at[u] = copied;
        if (!direct) continue;
        const uint8_t* const begin = frame.data + 3 * (rows[k * kImageSize + u] * frame.width + bases[u]);
        if (inside || bases[u] < frame.width - 2) {
          at[u] = begin;
        } else {
          std::memcpy(copied, begin, 6);
        }
      }
    }
    K::MixPairs(pairs, direct ? 3 : 4, swap, crop + v * kImageRow);
  }
}

// Blue and red of pixels of three bytes change places.
template <class K>
void SwapRow(const uint8_t* from, int64_t count, uint8_t* out) {
  for (int64_t i = 3 * K::Swap(from, count, out); i < 3 * count; i += 3) {
    out[i] = from[i + 2], out[i + 1] = from[i + 1], out[i + 2] = from[i];
  }
}

template <class K>
void Nv12Row(const Frame& frame, int64_t row, uint8_t* out) {
  constexpr int kBlock = kImageSize;
  const uint8_t *luma = RowOf(frame, row), *pairs = RowOf(frame, frame.height) + row / 2 * frame.width;
  const YuvFactors& factors = FactorsOf(frame.matrix, frame.range);
  alignas(32) uint32_t pixels[kBlock];
  const auto convert = [&](const uint8_t* block_luma, const uint8_t* block_pairs, uint8_t* to) {
    alignas(32) uint8_t chroma[2 * kBlock];
    for (int i = 0; i < kBlock; i += 2) {
      std::memcpy(chroma + 2 * i, block_pairs + i, 2);
      std::memcpy(chroma + 2 * i + 2, block_pairs + i, 2);
    }
    K::Convert(block_luma, chroma, kBlock, factors, pixels);
    K::Pack(reinterpret_cast<const uint8_t*>(pixels), to);
  };
  int64_t at = 0;
  for (; at + kBlock <= frame.width; at += kBlock) convert(luma + at, pairs + at, out + 3 * at);
  if (at == frame.width) return;
  uint8_t rest_luma[kBlock] = {}, rest_pairs[kBlock] = {}, rest[3 * kBlock];
  const auto left = static_cast<size_t>(frame.width - at);
  std::memcpy(rest_luma, luma + at, left);
  std::memcpy(rest_pairs, pairs + at, left);
  convert(rest_luma, rest_pairs, rest);
  std::memcpy(out + 3 * at, rest, 3 * left);
}

template <class K>
void ConvertRow(const Frame& frame, int64_t row, uint8_t* out) {
  if (frame.format == FrameFormat::kNv12) return Nv12Row<K>(frame, row, out);
  if (frame.format == FrameFormat::kRgb) return SwapRow<K>(RowOf(frame, row), frame.width, out);
  std::memcpy(out, RowOf(frame, row), static_cast<size_t>(3 * frame.width));
}

template <class K>
constexpr CutKernels kCutKernels = {CutPart<K>, CutAligned<K>, ConvertRow<K>};

}  // namespace
}  // namespace ssr::cpu
