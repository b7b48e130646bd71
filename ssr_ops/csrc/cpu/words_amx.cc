// int8 and bf16 in AMX: tiles of 16 output channels by up to 16 pixels or pool windows.
//
// A tile of inputs is read straight from the map: its rows are windows (or pixels), its columns 64 bytes of
// consecutive channels, across pixels. The four sums of a 2x2 pool are four tiles of one shape, so that a
// pool is the sum or maximum of four vectors. An instruction takes as many cycles as the tile of inputs has
// rows, whatever the width of a row.
#include <immintrin.h>

#include "cpu/words.h"

namespace ssr::cpu {
namespace {

#define SSR_INLINE inline __attribute__((always_inline))

constexpr int kLine = 64;          // bytes of a tile's row
constexpr int kTile = 16 * kLine;  // bytes
constexpr int kLineWords = 16;     // of 32 bits
constexpr int kSizes[4] = {31, 14, 6, 4};

// The instructions, with tiles as template arguments. GCC 12's own are macros that tell its optimiser of
// neither the memory that a tile is read from nor all of the shapes.
template <int kTo>
SSR_INLINE void Zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTo));
}
template <int kTo>
SSR_INLINE void Load(const void* from, int64_t step) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(kTo), "r"(from), "r"(step) : "memory");
}
template <int kFrom>
SSR_INLINE void Store(uint8_t* to) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(kFrom), "r"(to), "r"(int64_t{kLine}) : "memory");
}
SSR_INLINE void Release() { asm volatile("tilerelease"); }
template <int kSum, int kIn, int kWeights>
SSR_INLINE void MultiplyBytes() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kIn), "i"(kWeights));
}
template <int kSum, int kIn, int kWeights>
SSR_INLINE void MultiplyBf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kIn), "i"(kWeights));
}

// Tiles 0 to 3 are sums, 4 inputs, 6 weights; 5 and 7 alike for the last, narrower part of a kernel row.
struct alignas(64) Shapes {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {kLine, kLine, kLine, kLine, kLine, kLine, kLine, kLine};
  uint8_t rows[16] = {};
};

SSR_INLINE void LoadShapes(const Shapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }

// For `pixels` pixels or windows at once and `words` of a kernel row.
SSR_INLINE void Configure(int pixels, int words) {
  const int last = (words - 1) % kLineWords + 1;
  Shapes shapes;
  for (int tile = 0; tile < 6; ++tile) shapes.rows[tile] = static_cast<uint8_t>(pixels);
  shapes.rows[6] = kLineWords;
  shapes.rows[7] = static_cast<uint8_t>(last);
  shapes.row_bytes[5] = static_cast<uint16_t>(4 * last);
  LoadShapes(shapes);
}

SSR_INLINE void StoreBytes(__m512i values, uint8_t* out) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtusepi32_epi8(values));
}

// What a sum is and what becomes of it, for 16 output channels; see core/quantize.h. The first blocks' sums
// are floats in both: for int8 they are whole numbers below 2^24, and so are their sums over a pool.
struct Int8 {
  using Sum = __m512i;
  static constexpr int kElement = 1;  // bytes of the maps'

  __m512 scale;
  Int8(const WordLayer& layer, int block) : scale(_mm512_loadu_ps(layer.scale + 16 * block)) {}

  static const void* TileBias(const WordLayer& layer, int block) { return layer.bias + 16 * block; }
  template <int kSum, int kIn, int kWeights>
  static void Multiply() {
    MultiplyBytes<kSum, kIn, kWeights>();
  }
  static Sum Load(const uint8_t* sums) { return _mm512_load_si512(sums); }
  static Sum Zero() { return _mm512_setzero_si512(); }
  static Sum Add(Sum a, Sum b) { return _mm512_add_epi32(a, b); }
  static Sum Max(Sum a, Sum b) { return _mm512_max_epi32(a, b); }
  static __m512 Real(Sum sum) { return _mm512_cvtepi32_ps(sum); }

  void StoreX(__m512 total, int /*cells*/, uint8_t* out) const {
    const __m512 value = _mm512_min_ps(_mm512_mul_ps(total, scale), _mm512_set1_ps(255.0f));
    StoreBytes(_mm512_cvtps_epi32(value), out);
  }
  void StoreS(__m512 most, uint8_t* out) const {
    constexpr int kSmallerSize = 2;  // of the two sizes, with the first one's sign
    const __m512 v = _mm512_range_ps(_mm512_mul_ps(most, scale), _mm512_set1_ps(kTanhLimit), kSmallerSize);
    const __m512 square = _mm512_mul_ps(v, v);
    __m512 p = _mm512_set1_ps(kTanh127[kTanhTerms - 1]);
#pragma GCC unroll 16
    for (int i = kTanhTerms - 2; i >= 0; --i) p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(kTanh127[i]));
    StoreBytes(_mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(v, p)), _mm512_set1_epi32(128)), out);
  }
  // The mean over a pool is in the scale.
  __m512 Feature(__m512 total, int /*cells*/) const { return _mm512_mul_ps(total, scale); }
};

struct Bf16 {
  using Sum = __m512;
  static constexpr int kElement = 2;

  Bf16(const WordLayer& /*layer*/, int /*block*/) {}

  static const void* TileBias(const WordLayer& layer, int block) { return layer.real_bias + 16 * block; }
  template <int kSum, int kIn, int kWeights>
  static void Multiply() {
    MultiplyBf16<kSum, kIn, kWeights>();
  }
  static Sum Load(const uint8_t* sums) { return _mm512_load_ps(sums); }
  static Sum Zero() { return _mm512_setzero_ps(); }
  static Sum Add(Sum a, Sum b) { return _mm512_add_ps(a, b); }
  static Sum Max(Sum a, Sum b) { return _mm512_max_ps(a, b); }
  static __m512 Real(Sum sum) { return sum; }

  static void Store(__m512 value, uint8_t* out) {
    const __m256bh rounded = _mm512_cvtneps_pbh(value);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), reinterpret_cast<const __m256i&>(rounded));
  }
  void StoreX(__m512 total, int cells, uint8_t* out) const { Store(Feature(total, cells), out); }
  void StoreS(__m512 most, uint8_t* out) const { Store(Tanh(most), out); }
  __m512 Feature(__m512 total, int cells) const {
    return _mm512_mul_ps(total, _mm512_set1_ps(1.0f / static_cast<float>(cells)));
  }
  static __m512 Tanh(__m512 v);
};

// tanh |v| = (1 - e) / (1 + e) with e = exp(-2 |v|) = 2^n 2^f; the same as network_body.h's.
SSR_INLINE __m512 Bf16::Tanh(__m512 v) {
  const __m512 one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f);
  const __m512 size = _mm512_min_ps(_mm512_andnot_ps(sign, v), _mm512_set1_ps(10.0f));
  const __m512 exponent = _mm512_mul_ps(size, _mm512_set1_ps(-2.8853900817779268f));
  const __m512 n = _mm512_roundscale_ps(exponent, 0), f = _mm512_sub_ps(exponent, n);
  constexpr float kTerms[] = {9.618488994e-03f, 5.550328777e-02f, 2.402264689e-01f, 6.931472057e-01f, 1.0f};
  __m512 power = _mm512_set1_ps(1.339993114e-03f);
#pragma GCC unroll 8
  for (int i = 0; i < 5; ++i) power = _mm512_fmadd_ps(power, f, _mm512_set1_ps(kTerms[i]));
  const __m512 e = _mm512_scalef_ps(power, n);
  const __m512 result = _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_add_ps(one, e));
  return _mm512_or_ps(result, _mm512_and_ps(sign, v));
}

// One part of a kernel row for every position: tile kIn of inputs into each position's sum.
template <typename A, int kIn, int kWeights, int kPosition = 0>
SSR_INLINE void AddPart(const uint8_t* from, const int64_t (&at)[4], int64_t step) {
  if constexpr (kPosition < 4) {
    Load<kIn>(from + at[kPosition], step);
    A::template Multiply<kPosition, kIn, kWeights>();
    AddPart<A, kIn, kWeights, kPosition + 1>(from, at, step);
  }
}

// One block of 16 output channels at four positions: a tile of sums each. at: bytes from `in` to a
// position's first input; step: bytes from a row of its tile to the next. meanwhile(row): vector work on
// other data while the tiles of a row of the kernel are busy; the processor does not look much further
// ahead.
template <typename A, typename Meanwhile>
SSR_INLINE void SumTiles(const WordLayer& layer, int block, int kernel_rows, const uint8_t* in,
                         int64_t in_row, const int64_t (&at)[4], int64_t step, uint8_t* sums,
                         const Meanwhile& meanwhile) {
  const void* bias = A::TileBias(layer, block);
  const uint32_t* weights = layer.weights + int64_t{block} * kernel_rows * layer.words * kLineWords;
  Load<0>(bias, 0);
  Load<1>(bias, 0);
  Load<2>(bias, 0);
  Load<3>(bias, 0);
  for (int row = 0; row < kernel_rows; ++row, in += in_row) {
    const uint8_t* from = in;
    int words = layer.words;
    for (; words > kLineWords; words -= kLineWords, from += kLine, weights += kTile / 4) {
      Load<6>(weights, kLine);
      AddPart<A, 4, 6>(from, at, step);
    }
    Load<7>(weights, kLine);
    AddPart<A, 5, 7>(from, at, step);
    weights += words * kLineWords;
    meanwhile(row);
  }
  Store<0>(sums);
  Store<1>(sums + kTile);
  Store<2>(sums + 2 * kTile);
  Store<3>(sums + 3 * kTile);
}

template <typename A>
SSR_INLINE typename A::Sum Relu(typename A::Sum sum) {
  return A::Max(sum, A::Zero());
}

// Windows [begin, end) of a row of them: four tiles of sums to a row of the map, for one block of channels.
template <typename A, bool kIsX>
SSR_INLINE void FinishPooled(const WordLayer& layer, int block, const uint8_t* sums, int begin, int end,
                             uint8_t* out) {
  const A finish(layer, block);
  const int64_t pixel = int64_t{layer.width} * A::kElement;
  out += begin * pixel + block * 16 * A::kElement;
  sums += begin * kLine;
  for (int w = begin; w < end; ++w, out += pixel, sums += kLine) {
    const auto a = A::Load(sums), b = A::Load(sums + kTile);
    const auto c = A::Load(sums + 2 * kTile), d = A::Load(sums + 3 * kTile);
    if constexpr (kIsX) {
      const auto above = A::Add(Relu<A>(a), Relu<A>(b)), below = A::Add(Relu<A>(c), Relu<A>(d));
      finish.StoreX(A::Real(A::Add(above, below)), 4, out);
    } else {
      finish.StoreS(A::Real(A::Max(A::Max(a, b), A::Max(c, d))), out);
    }
  }
}

// The same for a first block, whose sums are floats and lack their bias: max(sum + bias, 0) is
// max(sum, -bias) + bias.
template <typename A, bool kIsX>
SSR_INLINE void FinishFirst(const WordLayer& layer, int block, const uint8_t* sums, int begin, int end,
                            uint8_t* out) {
  const A finish(layer, block);
  const __m512 bias = _mm512_loadu_ps(layer.real_bias + 16 * block);
  const __m512 least = _mm512_sub_ps(_mm512_setzero_ps(), bias), four = _mm512_set1_ps(4.0f);
  const int64_t pixel = int64_t{layer.width} * A::kElement;
  out += begin * pixel + block * 16 * A::kElement;
  sums += begin * kLine;
  for (int w = begin; w < end; ++w, out += pixel, sums += kLine) {
    const __m512 a = _mm512_load_ps(sums), b = _mm512_load_ps(sums + kTile);
    const __m512 c = _mm512_load_ps(sums + 2 * kTile), d = _mm512_load_ps(sums + 3 * kTile);
    if constexpr (kIsX) {
      const __m512 above = _mm512_add_ps(_mm512_max_ps(a, least), _mm512_max_ps(b, least));
      const __m512 below = _mm512_add_ps(_mm512_max_ps(c, least), _mm512_max_ps(d, least));
      finish.StoreX(_mm512_fmadd_ps(bias, four, _mm512_add_ps(above, below)), 4, out);
    } else {
      const __m512 most = _mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d));
      finish.StoreS(_mm512_add_ps(most, bias), out);
    }
  }
}

// A 3x3 convolution whose outputs are pooled 2 by 2: average for X, maximum for S. Levels 2 and 3. Vectors
// finish a block while the tiles of the next are summed: two sets of sums.
template <typename A, bool kIsX>
void ConvolvePooled(const WordLayer& layer, const uint8_t* in, int size, uint8_t* work, uint8_t* out) {
  const int windows = (size - 2) / 2, blocks = layer.width / 16;
  const int64_t pixel = int64_t{layer.width} * A::kElement, in_row = size * pixel;
  const int64_t at[4] = {0, pixel, in_row, in_row + pixel};
  uint8_t *sums = work, *summed = work + 4 * kTile, *finished = nullptr;
  int last = 0;  // the block that `summed` holds
  const int third = (windows + 2) / 3;
  const auto finish = [&](int part) {
    const int begin = part * third, end = begin + third < windows ? begin + third : windows;
    if (finished != nullptr) FinishPooled<A, kIsX>(layer, last, summed, begin, end, finished);
  };
  Configure(windows, layer.words);
  for (int y = 0; y < windows; ++y, in += 2 * in_row, out += windows * pixel) {
    for (int block = 0; block < blocks; ++block) {
      SumTiles<A>(layer, block, 3, in, in_row, at, 2 * pixel, sums, finish);
      uint8_t* const other = summed;
      summed = sums;
      sums = other;
      last = block;
      finished = out;
    }
  }
  for (int part = 0; part < 3; ++part) finish(part);
}

// The last level's, which no pool follows: 4x4 outputs, a position a row.
template <typename A, bool kIsX>
void ConvolveLast(const WordLayer& layer, const uint8_t* in, uint8_t* work, uint8_t* out) {
  constexpr int kOutputs = 4;
  const int64_t pixel = int64_t{layer.width} * A::kElement, in_row = (kOutputs + 2) * pixel;
  const int64_t at[4] = {0, in_row, 2 * in_row, 3 * in_row};
  Configure(kOutputs, layer.words);
  for (int block = 0; block < layer.width / 16; ++block) {
    SumTiles<A>(layer, block, 3, in, in_row, at, pixel, work, [](int) {});
    const A finish(layer, block);
    for (int row = 0; row < kOutputs; ++row) {
      for (int column = 0; column < kOutputs; ++column) {
        const auto sum = A::Load(work + row * kTile + column * kLine);
        uint8_t* at_pixel = out + (row * kOutputs + column) * pixel + block * 16 * A::kElement;
        if constexpr (kIsX) {
          finish.StoreX(A::Real(Relu<A>(sum)), 1, at_pixel);
        } else {
          finish.StoreS(A::Real(sum), at_pixel);
        }
      }
    }
  }
}

// The first blocks read the picture in bf16 (exactly: a byte has 8 bits), three rows interleaved: for each
// column its three rows' channels, so that the 27 inputs of a pixel are 54 bytes in a row, and the next
// pixel's begin 18 bytes on.
constexpr int kPicture = 64, kRowValues = 3 * kPicture, kRowBytes = 2 * kRowValues;
constexpr int kColumnValues = 9, kColumnBytes = 2 * kColumnValues;
constexpr int kStripBytes = kPicture * kColumnBytes;

// Interleaving, in vectors of 32 values, repeats every 9 vectors, 32 columns. A vector takes its values from
// 32 that begin at `from` in each row: by `upper` from the first two rows (32 on: the second), by `lower`
// from the third.
struct Interleaving {
  uint16_t upper[kColumnValues][32] = {}, lower[kColumnValues][32] = {};
  uint32_t is_lower[kColumnValues] = {};
  int from[kColumnValues] = {};

  constexpr Interleaving() {
    for (int v = 0; v < kColumnValues; ++v) {
      from[v] = 32 * v / kColumnValues * 3;
      for (int lane = 0; lane < 32; ++lane) {
        const int value = 32 * v + lane, row = value % kColumnValues / 3;
        const int index = value / kColumnValues * 3 + value % 3 - from[v];
        if (row == 2) is_lower[v] |= 1u << lane;
        upper[v][lane] = static_cast<uint16_t>(row == 1 ? 32 + index : index);
        lower[v][lane] = static_cast<uint16_t>(index);
      }
    }
  }
};
alignas(64) constexpr Interleaving kInterleaving;

SSR_INLINE void Interleave(const uint8_t* const (&rows)[3], uint8_t* strip) {
  for (int half = 0; half < 2; ++half) {
    for (int v = 0; v < kColumnValues; ++v, strip += kLine) {
      const int64_t at = half * kRowBytes / 2 + 2 * kInterleaving.from[v];
      const __m512i upper = _mm512_permutex2var_epi16(_mm512_loadu_si512(rows[0] + at),
                                                      _mm512_load_si512(kInterleaving.upper[v]),
                                                      _mm512_loadu_si512(rows[1] + at));
      _mm512_store_si512(strip, _mm512_mask_permutexvar_epi16(upper, kInterleaving.is_lower[v],
                                                              _mm512_load_si512(kInterleaving.lower[v]),
                                                              _mm512_loadu_si512(rows[2] + at)));
    }
  }
}

SSR_INLINE void RowToBf16(const uint8_t* image, uint8_t* row) {
  for (int i = 0; i < kRowValues; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(image + i));
    const __m512 values = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
    _mm256_store_si256(reinterpret_cast<__m256i*>(row + 2 * i),
                       _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(values), 16)));
  }
}

// 16 output channels of either stream's first block.
struct FirstBlock {
  const WordLayer* layer;
  int block;
  bool is_x;

  FirstBlock(const WordNetwork& network, int index) {
    const int blocks_x = network.width_x / 16;
    is_x = index < blocks_x;
    layer = is_x ? &network.x[0] : &network.s[0];
    block = is_x ? index : index - blocks_x;
  }
  const uint32_t* weights() const { return layer->weights + int64_t{block} * layer->words * kLineWords; }
};

// Up to three blocks at a time, so that a tile of inputs, whose rows straddle lines, is read once for all.
constexpr int kGroup = 3, kFirstWindows = 16;

SSR_INLINE void ConfigureFirst(int words) {
  Shapes shapes;
  for (int tile = 0; tile < 3; ++tile) shapes.rows[tile] = kFirstWindows;
  shapes.rows[4] = shapes.rows[5] = kFirstWindows;
  shapes.row_bytes[4] = static_cast<uint16_t>(4 * words);
  shapes.rows[3] = shapes.rows[6] = shapes.rows[7] = static_cast<uint8_t>(words);
  LoadShapes(shapes);
}

// What SumFirst works on. Sums: four tiles a block, both columns of 16 windows, above and below.
struct FirstWork {
  const uint8_t *above, *below;  // strips
  uint8_t* sums;
};

// Position by position, block by block: a sum is stored one step after its multiplication, which takes
// long. meanwhile(position): as SumTiles's.
template <int kBlocks, int kStep, typename Meanwhile>
SSR_INLINE void FirstStep(const FirstWork& work, const Meanwhile& meanwhile) {
  constexpr int kSums[4] = {0, 1, 2, 5}, kWeights[kGroup] = {3, 6, 7};
  constexpr int kPosition = kStep / kBlocks, kBlock = kStep % kBlocks;
  if constexpr (kStep < 4 * kBlocks) {
    if constexpr (kBlock == 0) {
      Load<4>((kPosition < 2 ? work.above : work.below) + kPosition % 2 * kColumnBytes, 2 * kColumnBytes);
    }
    Zero<kSums[kStep % 4]>();
    MultiplyBf16<kSums[kStep % 4], 4, kWeights[kBlock]>();
  }
  if constexpr (kStep > 0) {
    constexpr int kLast = kStep - 1;
    Store<kSums[kLast % 4]>(work.sums + (kLast % kBlocks * 4 + kLast / kBlocks) * kTile);
  }
  if constexpr (kStep < 4 * kBlocks) {
    if constexpr (kBlock == kBlocks - 1) meanwhile(kPosition);
    FirstStep<kBlocks, kStep + 1>(work, meanwhile);
  }
}

template <int kBlocks, typename Meanwhile>
SSR_INLINE void SumFirst(const WordNetwork& network, int index, const uint8_t* above, const uint8_t* below,
                         uint8_t* sums, const Meanwhile& meanwhile) {
  Load<3>(FirstBlock(network, index).weights(), kLine);
  if constexpr (kBlocks > 1) Load<6>(FirstBlock(network, index + 1).weights(), kLine);
  if constexpr (kBlocks > 2) Load<7>(FirstBlock(network, index + 2).weights(), kLine);
  FirstStep<kBlocks, 0>(FirstWork{above, below, sums}, meanwhile);
}

// A group of blocks whose sums wait for their activation, pool and place in the maps.
struct FirstGroup {
  int index = 0, blocks = 0;
  uint8_t *out_x = nullptr, *out_s = nullptr;  // of the group's first window

  template <typename A>
  SSR_INLINE void Finish(const WordNetwork& network, const uint8_t* sums, int quarter) const {
    constexpr int kWindows = kFirstWindows / 4;
    const int begin = quarter * kWindows, end = begin + kWindows;
    for (int i = 0; i < blocks; ++i, sums += 4 * kTile) {
      const FirstBlock of(network, index + i);
      if (of.is_x) {
        FinishFirst<A, true>(*of.layer, of.block, sums, begin, end, out_x);
      } else {
        FinishFirst<A, false>(*of.layer, of.block, sums, begin, end, out_s);
      }
    }
  }
};

// Both streams' first blocks, pooled, straight from the bytes.
template <typename A>
void ConvolveFirst(const WordNetwork& network, const uint8_t* image, uint8_t* work, uint8_t* out_x,
                   uint8_t* out_s) {
  constexpr int kWindows = (kPicture - 2) / 2;
  const int blocks = (network.width_x + network.width_s) / 16;
  const int64_t pixel_x = int64_t{network.width_x} * A::kElement,
                pixel_s = int64_t{network.width_s} * A::kElement;
  uint8_t *sums = work, *summed = sums + 4 * kGroup * kTile, *rows = summed + 4 * kGroup * kTile;
  uint8_t *above = rows + 4 * kRowBytes + kLine, *below = above + kStripBytes + kLine;
  const auto row = [rows](int y) { return rows + y % 4 * kRowBytes; };
  FirstGroup waiting;
  const auto finish = [&](int quarter) { waiting.Finish<A>(network, summed, quarter); };
  ConfigureFirst(network.x[0].words);
  for (int y = 0; y < 2; ++y) RowToBf16(image + y * kRowValues, row(y));
  for (int y = 0; y < 2 * kWindows; y += 2, out_x += kWindows * pixel_x, out_s += kWindows * pixel_s) {
    for (int next = y + 2; next < y + 4; ++next) RowToBf16(image + next * kRowValues, row(next));
    Interleave({row(y), row(y + 1), row(y + 2)}, above);
    Interleave({row(y + 1), row(y + 2), row(y + 3)}, below);
    for (int half = 0; half < 2; ++half) {
      const int window = half * (kWindows - kFirstWindows);  // the halves share one
      const uint8_t *from_above = above + 2 * window * kColumnBytes,
                    *from_below = below + 2 * window * kColumnBytes;
      for (int index = 0; index < blocks; index += kGroup) {
        const int count = blocks - index < kGroup ? blocks - index : kGroup;
        if (count == 3) {
          SumFirst<3>(network, index, from_above, from_below, sums, finish);
        } else if (count == 2) {
          SumFirst<2>(network, index, from_above, from_below, sums, finish);
        } else {
          SumFirst<1>(network, index, from_above, from_below, sums, finish);
        }
        waiting = {index, count, out_x + window * pixel_x, out_s + window * pixel_s};
        uint8_t* const other = summed;
        summed = sums;
        sums = other;
      }
    }
  }
  for (int quarter = 0; quarter < 4; ++quarter) finish(quarter);
}

// A 1x1 convolution with ReLU and a pool (average for X, maximum for S); out: (side, side, fusion). A tile
// is whole cells of a row of pixels, 16 of them at most; positions are rows.
template <typename A, bool kIsX>
void Fuse(const WordLayer& layer, const StageWeights& stage, const uint8_t* in, int width, uint8_t* work,
          float* out) {
  const int size = kSizes[stage.level - 1], pool = stage.pool, side = stage.side, used = side * pool;
  const int64_t pixel = int64_t{width} * A::kElement, in_row = size * pixel;
  const int cells = used <= 16 ? side : 1;
  Configure(cells * pool, layer.words);
  for (int block = 0; block < layer.width / 16; ++block) {
    const A finish(layer, block);
    for (int x = 0; x < side; x += cells) {
      typename A::Sum total[16];
      for (int y = 0; y < used; y += 4) {
        const int rows = used - y < 4 ? used - y : 4;  // the tiles of others repeat the last row
        int64_t at[4];
        for (int row = 0; row < 4; ++row) at[row] = (row < rows ? row : rows - 1) * in_row;
        SumTiles<A>(layer, block, 1, in + y * in_row + x * pool * pixel, 0, at, pixel, work, [](int) {});
        for (int row = 0; row < rows; ++row) {
          const int in_cell = (y + row) % pool;
          for (int c = 0; c < cells; ++c) {
            const uint8_t* sums = work + row * kTile + c * pool * kLine;
            auto sum = in_cell == 0 ? A::Zero() : total[c];
            for (int i = 0; i < pool; ++i) {
              const auto one = A::Load(sums + i * kLine);
              sum = kIsX ? A::Add(sum, Relu<A>(one)) : A::Max(sum, one);
            }
            total[c] = sum;
            if (in_cell < pool - 1) continue;
            const int64_t cell = int64_t{(y + row) / pool} * side + x + c;
            _mm512_storeu_ps(out + cell * layer.width + 16 * block,
                             finish.Feature(A::Real(sum), kIsX ? pool * pool : 1));
          }
        }
      }
    }
  }
}

template <typename A>
void Run(const WordNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  uint8_t *x[4], *s[4], *work = scratch + network.work;
  for (int level = 0; level < 4; ++level) {
    x[level] = scratch + network.map_x[level];
    s[level] = scratch + network.map_s[level];
  }
  ConvolveFirst<A>(network, image, work, x[0], s[0]);
  ConvolvePooled<A, true>(network.x[1], x[0], 31, work, x[1]);
  ConvolvePooled<A, false>(network.s[1], s[0], 31, work, s[1]);
  ConvolvePooled<A, true>(network.x[2], x[1], 14, work, x[2]);
  ConvolvePooled<A, false>(network.s[2], s[1], 14, work, s[2]);
  ConvolveLast<A, true>(network.x[3], x[2], work, x[3]);
  ConvolveLast<A, false>(network.s[3], s[2], work, s[3]);
  for (int k = 0; k < network.num_stages; ++k) {
    const WordStage& stage = network.stages[k];
    const int level = stage.dense.level - 1;
    const int64_t count = int64_t{stage.dense.side} * stage.dense.side * network.width_fusion;
    float* fx = reinterpret_cast<float*>(scratch + network.features);
    float *fs = fx + count, *product = fs + count;
    Fuse<A, true>(stage.fuse_x, stage.dense, x[level], network.width_x, work, fx);
    Fuse<A, false>(stage.fuse_s, stage.dense, s[level], network.width_s, work, fs);
    dots = SumStageAvx512(stage.dense, count, fx, fs, product, dots);
  }
  Release();
}

#undef SSR_INLINE

}  // namespace

void RunInt8Amx(const WordNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  Run<Int8>(network, image, scratch, dots);
}

void RunBf16Amx(const WordNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  Run<Bf16>(network, image, scratch, dots);
}

namespace {

// See MultiplyAddKernel. A sum's latency is 52 cycles, an instruction takes 16: four sums hide it.
template <typename A>
int64_t MultiplyAdd(int64_t rounds, float* value) {
  alignas(64) static const uint8_t zeros[kTile] = {};
  alignas(64) uint8_t sums[kTile];
  rounds /= 64;
  Configure(16, kLineWords);
  Load<4>(zeros, kLine);
  Load<6>(zeros, kLine);
  Zero<0>();
  Zero<1>();
  Zero<2>();
  Zero<3>();
  for (int64_t round = 0; round < rounds; ++round) {
    A::template Multiply<0, 4, 6>();
    A::template Multiply<1, 4, 6>();
    A::template Multiply<2, 4, 6>();
    A::template Multiply<3, 4, 6>();
  }
  Store<0>(sums);
  Release();
  *value += static_cast<float>(sums[0] & 1);
  return rounds * 4 * 16 * 16 * kLineWords * (4 / A::kElement);
}

}  // namespace

int64_t MultiplyAddInt8Amx(int64_t rounds, float* value) { return MultiplyAdd<Int8>(rounds, value); }
int64_t MultiplyAddBf16Amx(int64_t rounds, float* value) { return MultiplyAdd<Bf16>(rounds, value); }

}  // namespace ssr::cpu
