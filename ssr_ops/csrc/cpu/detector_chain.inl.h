// A chain of the detector's units, written once over `Vec` and `Tuning` and compiled per instruction set.
// Include inside an unnamed namespace, after both; see detector_avx2.cc.
//
// Tuning: kVectors of output channels and kPixels, the register block of a 1x1 convolution with many
// channels; kFewPixels, of one with a single vector of them.
//
// Every value is summed in the same order wherever it stands: bits do not depend on rectangles.

#define SSR_INLINE inline __attribute__((always_inline))
#define SSR_UNROLL _Pragma("GCC unroll 32")
#define SSR_ROLLED _Pragma("GCC unroll 1")  // an unrolled reduction would spill the sums

SSR_INLINE int Min(int a, int b) { return a < b ? a : b; }
SSR_INLINE int Max(int a, int b) { return a > b ? a : b; }
SSR_INLINE void Zero(float* values, int64_t count) { __builtin_memset(values, 0, sizeof(float) * count); }

#include "cpu/detector_depth.inl.h"
#include "cpu/detector_point.inl.h"

// A chain on its way down a rectangle.
struct Walk {
  const DetectorChain& chain;
  const ChainPlan& plan;
  float* work;
  int next[kLongestChain];    // the upper row of each link's next pair
  int filled[kLongestChain];  // the row that each link's ring gets next
  int converted;              // the row of the frame that is converted next
};

// Column `column` of a row in a link's ring.
SSR_INLINE float* RingAt(const Walk& walk, int link, int row, int column) {
  const ChainPlan::Link& plan = walk.plan.links[link];
  return walk.work + plan.ring + (row & 3) * plan.row +
         int64_t{column - plan.left + 1} * walk.chain.links[link].unit.out;
}

// Takes a row that lies outside the map: the depthwise convolution sees zeros there.
SSR_INLINE void FillWithZeros(Walk& walk, int link) {
  const ChainPlan::Link& plan = walk.plan.links[link];
  Zero(RingAt(walk, link, walk.filled[link]++, plan.left - 1), plan.row);
}

SSR_INLINE float* PixelRow(const Walk& walk, int row) {
  return walk.work + walk.plan.pixels + (row + 3) % 3 * walk.plan.pixel_row;
}

// One row of the frame as floats, from the column left of the first output's centre.
void Convert(Walk& walk, int row) {
  const DetectorChain& chain = walk.chain;
  float* out = PixelRow(walk, row);
  const int first = 2 * walk.plan.source_left - 1, last = 2 * walk.plan.source_right;  // columns of the frame
  if (row < 0 || row >= chain.frame_height) return Zero(out, int64_t{last - first} * 3);
  const int begin = Max(first, 0), end = Max(begin, Min(last, chain.frame_width));
  const uint8_t* in = chain.frame + (int64_t{row} * chain.frame_width + begin) * 3;
  Zero(out, int64_t{begin - first} * 3);
  out += int64_t{begin - first} * 3;
  const int bytes = (end - begin) * 3;
  int i = 0;
  for (; i + Vec::kLanes <= bytes; i += Vec::kLanes) Vec::Bytes(in + i).Store(out + i);
  for (; i < bytes; ++i) out[i] = static_cast<float>(in[i]);
  Zero(out + bytes, int64_t{last - end} * 3);
}

// One row of the chain's input through the first 1x1 convolution.
void FillFromStem(Walk& walk, int row) {
  const DetectorStem& stem = *walk.chain.stem;
  for (; walk.converted <= 2 * row + 1; ++walk.converted) Convert(walk, walk.converted);
  float* tile = walk.work + walk.plan.tile;
  const int left = walk.plan.source_left, right = walk.plan.source_right;
  constexpr int kColumns = TileColumns(kFewChannels),
                kStep = 6;  // floats from one output's pixels to the next
  for (int x = left; x < right; x += kColumns) {
    const int n = Min(kColumns, right - x);
    const int64_t at = int64_t{x - left} * kStep;
    const float* rows[3] = {PixelRow(walk, 2 * row - 1) + at, PixelRow(walk, 2 * row) + at,
                            PixelRow(walk, 2 * row + 1) + at};
    Pixels<3, kFewChannels, true>(rows, kStep, 9, stem.weights, stem.bias, n, tile);
    Point(walk.chain.links[0].unit, tile, n, RingAt(walk, 0, row, x));
  }
}

void FillFromMap(Walk& walk, int row) {
  const DetectorChain& chain = walk.chain;
  const DetectorChain::Link& link = chain.links[0];
  const int left = walk.plan.source_left, right = walk.plan.source_right, channels = link.unit.in;
  const float* in = chain.source + int64_t{row} * link.width * channels;
  if (chain.halved == nullptr) {
    return Point(link.unit, in + int64_t{left} * channels, right - left, RingAt(walk, 0, row, left));
  }
  const float* half = chain.halved + int64_t{row / 2} * (link.width / 2) * channels;
  float* tile = walk.work + walk.plan.tile;
  const int columns = TileColumns(channels);
  for (int x = left; x < right; x += columns) {
    const int n = Min(columns, right - x);
    for (int i = 0; i < n; ++i) {
      const float *a = in + int64_t{x + i} * channels, *b = half + int64_t{(x + i) / 2} * channels;
      for (int c = 0; c < channels; c += Vec::kLanes) {
        (Vec::Load(a + c) + Vec::Load(b + c)).Store(tile + i * channels + c);
      }
    }
    Point(link.unit, tile, n, RingAt(walk, 0, row, x));
  }
}

// The next row of the first link's ring.
void FillFromSource(Walk& walk) {
  const int row = walk.filled[0];
  if (row < 0 || row >= walk.chain.links[0].height) return FillWithZeros(walk, 0);
  walk.chain.stem != nullptr ? FillFromStem(walk, row) : FillFromMap(walk, row);
  ++walk.filled[0];
}

// Copies columns [x, x + n) of a tile's row to a map.
SSR_INLINE void StoreRow(const float* tile, int n, int channels, float* map, int width, int row, int x) {
  __builtin_memcpy(map + (int64_t{row} * width + x) * channels, tile, sizeof(float) * n * channels);
}

// A pair of rows of a link's output, a few columns at a time: to the next link's ring, and where it is
// stored.
template <int kChannels, Keep kKeep, bool kRelu>
void MakePair(Walk& walk, int i, int row) {
  constexpr int kColumns = TileColumns(kChannels);
  const DetectorChain::Link& link = walk.chain.links[i];
  const ChainPlan::Link& plan = walk.plan.links[i];
  const Rectangle& own = walk.plan.rectangle;
  const bool last = i + 1 == walk.chain.count;
  float* const tile = walk.work + walk.plan.tile;
  float* const pooled = tile + 2 * kColumns * kChannels;
  for (int x = plan.left; x < plan.right; x += kColumns) {
    const int n = Min(kColumns, plan.right - x);
    const float* rows[4];
    for (int r = 0; r < 4; ++r) rows[r] = RingAt(walk, i, row - 1 + r, x - 1);
    Depth<kChannels, kKeep, kRelu>(rows, link.unit, (n + 3) / 4, tile, tile + kColumns * kChannels, pooled);
    if (link.stored != nullptr) {  // what lies around the rectangle is stored by others
      const int from = Max(x, own.left), to = Min(x + n, own.right);
      for (int r = 0; r < 2 && from < to; ++r) {
        if (row + r < own.top || row + r >= own.bottom) continue;
        StoreRow(tile + (r * kColumns + from - x) * kChannels, to - from, kChannels, link.stored, link.width,
                 row + r, from);
      }
    }
    if (kKeep != Keep::kRows && last) {
      StoreRow(pooled, n / 2, kChannels, walk.chain.pooled, link.width / 2, row / 2, x / 2);
    } else if (kKeep != Keep::kRows) {
      Point(walk.chain.links[i + 1].unit, pooled, n / 2, RingAt(walk, i + 1, row / 2, x / 2));
    } else if (!last) {
      for (int r = 0; r < 2; ++r) {
        if (row + r < 0 || row + r >= link.height) continue;
        Point(walk.chain.links[i + 1].unit, tile + r * kColumns * kChannels, n,
              RingAt(walk, i + 1, row + r, x));
      }
    }
  }
}

template <int kChannels>
void MakePairOf(Walk& walk, int i, int row) {
  const DetectorChain::Link& link = walk.chain.links[i];
  if (link.pool && link.stored != nullptr) return MakePair<kChannels, Keep::kBoth, true>(walk, i, row);
  if (link.pool) return MakePair<kChannels, Keep::kPooled, true>(walk, i, row);
  if (link.unit.relu) return MakePair<kChannels, Keep::kRows, true>(walk, i, row);
  MakePair<kChannels, Keep::kRows, false>(walk, i, row);
}

// Makes link i's next pair of rows, and whatever of the links before it that takes.
void Advance(Walk& walk, int i) {
  const DetectorChain::Link& link = walk.chain.links[i];
  const int row = walk.next[i];
  walk.next[i] += 2;
  const bool within = row + 1 >= 0 && row < link.height;
  if (within) {
    while (walk.filled[i] <= row + 2) i == 0 ? FillFromSource(walk) : Advance(walk, i - 1);
    link.unit.out == kManyChannels ? MakePairOf<kManyChannels>(walk, i, row)
                                   : MakePairOf<kFewChannels>(walk, i, row);
  }
  if (i + 1 == walk.chain.count) return;
  if (link.pool) return within ? void(++walk.filled[i + 1]) : FillWithZeros(walk, i + 1);
  for (int r = 0; r < 2; ++r) {
    row + r >= 0 && row + r < link.height ? void(++walk.filled[i + 1]) : FillWithZeros(walk, i + 1);
  }
}

void RunChain(const DetectorChain& chain, const ChainPlan& plan, float* work) {
  Walk walk = {chain, plan, work, {}, {}, 0};
  for (int i = 0; i < chain.count; ++i) {
    const ChainPlan::Link& link = plan.links[i];
    walk.next[i] = link.top;
    walk.filled[i] = link.top - 1;
    const int channels = chain.links[i].unit.out;
    for (int r = 0; r < 4; ++r) {  // the columns beside the map
      Zero(RingAt(walk, i, r, link.left - 1), channels);
      Zero(RingAt(walk, i, r, link.right), channels);
    }
  }
  walk.converted = 2 * Max(plan.links[0].top - 1, 0) - 1;
  while (walk.next[chain.count - 1] < plan.rectangle.bottom) Advance(walk, chain.count - 1);
}
