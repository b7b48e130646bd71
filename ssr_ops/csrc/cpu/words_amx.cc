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

constexpr int kLine = 64;             // bytes of a tile's row
constexpr int kTile = 16 * kLine;     // bytes
constexpr int kLineWords = 16;        // of 32 bits
constexpr int kSizes[4] = {31, 14, 6, 4};

// Tiles 0 to 3 are sums, 4 inputs, 6 weights; 5 and 7 alike for the last, narrower part of a kernel row.
struct alignas(64) Shapes {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {kLine, kLine, kLine, kLine, kLine, kLine, kLine, kLine};
  uint8_t rows[16] = {};
};

// For `pixels` pixels or windows at once and `words` of a kernel row.
SSR_INLINE void Configure(int pixels, int words) {
  const int last = (words - 1) % kLineWords + 1;
  Shapes shapes;
  for (int tile = 0; tile < 6; ++tile) shapes.rows[tile] = static_cast<uint8_t>(pixels);
  shapes.rows[6] = kLineWords;
  shapes.rows[7] = static_cast<uint8_t>(last);
  shapes.row_bytes[5] = static_cast<uint16_t>(4 * last);
  asm volatile("" ::"r"(&shapes) : "memory");  // GCC 12 tells its optimiser of the first bytes only
  _tile_loadconfig(&shapes);
}

SSR_INLINE void StoreBytes(__m512i values, uint8_t* out) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtusepi32_epi8(values));
}

// What a sum is and what becomes of it, for 16 output channels; see core/quantize.h. First: of the first
// blocks, whose tiles are bf16's.
struct Int8 {
  using Sum = __m512i;
  static constexpr int kElement = 1;  // bytes of the maps'
  static constexpr int kTerms = 2;    // of the first blocks' weights

  __m512i bias;
  __m512 scale;
  Int8(const WordLayer& layer, int block)
      : bias(_mm512_loadu_si512(layer.bias + 16 * block)), scale(_mm512_loadu_ps(layer.scale + 16 * block)) {}

  static const void* TileBias(const WordLayer& layer, int block) { return layer.bias + 16 * block; }
  static Sum Load(const uint8_t* sums) { return _mm512_load_si512(sums); }
  static Sum Zero() { return _mm512_setzero_si512(); }
  static Sum Add(Sum a, Sum b) { return _mm512_add_epi32(a, b); }
  static Sum Max(Sum a, Sum b) { return _mm512_max_epi32(a, b); }
  Sum First(__m512 whole) const { return Add(_mm512_cvtps_epi32(whole), bias); }  // whole numbers below 2^24

  void StoreX(Sum total, int /*pool*/, uint8_t* out) const {
    const __m512 value = _mm512_min_ps(Feature(total, 1), _mm512_set1_ps(255.0f));
    StoreBytes(_mm512_cvtps_epi32(value), out);
  }
  void StoreS(Sum most, uint8_t* out) const {
    const __m512 limit = _mm512_set1_ps(kTanhLimit);
    __m512 v = Feature(most, 1);
    v = _mm512_max_ps(_mm512_min_ps(v, limit), _mm512_sub_ps(_mm512_setzero_ps(), limit));
    const __m512 square = _mm512_mul_ps(v, v);
    __m512 p = _mm512_set1_ps(kTanh127[kTanhTerms - 1]);
#pragma GCC unroll 16
    for (int i = kTanhTerms - 2; i >= 0; --i) p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(kTanh127[i]));
    StoreBytes(_mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(v, p)), _mm512_set1_epi32(128)), out);
  }
  // The mean over a pool is in the scale.
  __m512 Feature(Sum total, int /*cells*/) const { return _mm512_mul_ps(_mm512_cvtepi32_ps(total), scale); }
};

struct Bf16 {
  using Sum = __m512;
  static constexpr int kElement = 2;
  static constexpr int kTerms = 1;

  __m512 bias;
  Bf16(const WordLayer& layer, int block) : bias(_mm512_loadu_ps(layer.real_bias + 16 * block)) {}

  static const void* TileBias(const WordLayer& layer, int block) { return layer.real_bias + 16 * block; }
  static Sum Load(const uint8_t* sums) { return _mm512_load_ps(sums); }
  static Sum Zero() { return _mm512_setzero_ps(); }
  static Sum Add(Sum a, Sum b) { return _mm512_add_ps(a, b); }
  static Sum Max(Sum a, Sum b) { return _mm512_max_ps(a, b); }
  Sum First(__m512 sum) const { return _mm512_add_ps(sum, bias); }

  static void Store(__m512 value, uint8_t* out) {
    const __m256bh rounded = _mm512_cvtneps_pbh(value);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), reinterpret_cast<const __m256i&>(rounded));
  }
  void StoreX(Sum total, int pool, uint8_t* out) const { Store(Feature(total, pool), out); }
  void StoreS(Sum most, uint8_t* out) const { Store(Tanh(most), out); }
  __m512 Feature(Sum total, int cells) const {
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

// Tile numbers are part of an instruction, so that the four positions are spelt out.
#define SSR_MULTIPLY(sum, in, weights)   \
  if constexpr (A::kElement == 1) {      \
    _tile_dpbusd(sum, in, weights);      \
  } else {                               \
    _tile_dpbf16ps(sum, in, weights);    \
  }
#define SSR_MULTIPLY_ALL(in, weights)           \
  _tile_loadd(in, from + at[0], step);          \
  SSR_MULTIPLY(0, in, weights)                  \
  _tile_loadd(in, from + at[1], step);          \
  SSR_MULTIPLY(1, in, weights)                  \
  if constexpr (kPositions == 4) {              \
    _tile_loadd(in, from + at[2], step);        \
    SSR_MULTIPLY(2, in, weights)                \
    _tile_loadd(in, from + at[3], step);        \
    SSR_MULTIPLY(3, in, weights)                \
  }

// One block of 16 output channels at kPositions positions: a tile of sums each. at: bytes from `in` to a
// position's first input; step: bytes from a row of its tile to the next.
template <typename A, int kPositions>
SSR_INLINE void SumTiles(const WordLayer& layer, int block, int kernel_rows, const uint8_t* in,
                         int64_t in_row, const int64_t (&at)[4], int64_t step, uint8_t* sums) {
  static_assert(kPositions == 2 || kPositions == 4, "spelt out");
  const void* bias = A::TileBias(layer, block);
  const uint32_t* weights = layer.weights + int64_t{block} * kernel_rows * layer.words * kLineWords;
  _tile_loadd(0, bias, 0);
  _tile_loadd(1, bias, 0);
  if constexpr (kPositions == 4) {
    _tile_loadd(2, bias, 0);
    _tile_loadd(3, bias, 0);
  }
  for (int row = 0; row < kernel_rows; ++row, in += in_row) {
    const uint8_t* from = in;
    int words = layer.words;
    for (; words > kLineWords; words -= kLineWords, from += kLine, weights += kTile / 4) {
      _tile_loadd(6, weights, kLine);
      SSR_MULTIPLY_ALL(4, 6)
    }
    _tile_loadd(7, weights, kLine);
    SSR_MULTIPLY_ALL(5, 7)
    weights += words * kLineWords;
  }
  _tile_stored(0, sums, kLine);
  _tile_stored(1, sums + kTile, kLine);
  if constexpr (kPositions == 4) {
    _tile_stored(2, sums + 2 * kTile, kLine);
    _tile_stored(3, sums + 3 * kTile, kLine);
  }
}

#undef SSR_MULTIPLY_ALL
#undef SSR_MULTIPLY

template <typename A>
SSR_INLINE typename A::Sum Relu(typename A::Sum sum) {
  return A::Max(sum, A::Zero());
}

// A 3x3 convolution whose outputs are pooled 2 by 2: average for X, maximum for S. Levels 2 and 3.
template <typename A, bool kIsX>
void ConvolvePooled(const WordLayer& layer, const uint8_t* in, int size, uint8_t* work, uint8_t* out) {
  const int windows = (size - 2) / 2;
  const int64_t pixel = int64_t{layer.width} * A::kElement, in_row = size * pixel;
  const int64_t at[4] = {0, pixel, in_row, in_row + pixel};
  Configure(windows, layer.words);
  for (int y = 0; y < windows; ++y, in += 2 * in_row, out += windows * pixel) {
    for (int block = 0; block < layer.width / 16; ++block) {
      SumTiles<A, 4>(layer, block, 3, in, in_row, at, 2 * pixel, work);
      const A finish(layer, block);
      uint8_t* pooled = out + block * 16 * A::kElement;
      for (int w = 0; w < windows; ++w, pooled += pixel) {
        const uint8_t* sums = work + w * kLine;
        const auto a = A::Load(sums), b = A::Load(sums + kTile);
        const auto c = A::Load(sums + 2 * kTile), d = A::Load(sums + 3 * kTile);
        if constexpr (kIsX) {
          finish.StoreX(A::Add(A::Add(Relu<A>(a), Relu<A>(b)), A::Add(Relu<A>(c), Relu<A>(d))), 4, pooled);
        } else {
          finish.StoreS(A::Max(A::Max(a, b), A::Max(c, d)), pooled);
        }
      }
    }
  }
}

// The last level's, which no pool follows: 4x4 outputs, a position a row.
template <typename A, bool kIsX>
void ConvolveLast(const WordLayer& layer, const uint8_t* in, uint8_t* work, uint8_t* out) {
  constexpr int kOutputs = 4;
  const int64_t pixel = int64_t{layer.width} * A::kElement, in_row = (kOutputs + 2) * pixel;
  const int64_t at[4] = {0, in_row, 2 * in_row, 3 * in_row};
  Configure(kOutputs, layer.words);
  for (int block = 0; block < layer.width / 16; ++block) {
    SumTiles<A, 4>(layer, block, 3, in, in_row, at, pixel, work);
    const A finish(layer, block);
    for (int row = 0; row < kOutputs; ++row) {
      for (int column = 0; column < kOutputs; ++column) {
        const auto sum = A::Load(work + row * kTile + column * kLine);
        uint8_t* at_pixel = out + (row * kOutputs + column) * pixel + block * 16 * A::kElement;
        if constexpr (kIsX) {
          finish.StoreX(Relu<A>(sum), 1, at_pixel);
        } else {
          finish.StoreS(sum, at_pixel);
        }
      }
    }
  }
}

// The first blocks' inputs: 27 values in bf16 around each of `kOutputs` pixels of a row, and 5 that meet
// weights of zero; a line of 64 bytes a pixel. strip: three rows of the picture in bf16.
constexpr int kPicture = 64, kValues = 3 * kPicture, kOutputs = kPicture - 2;
constexpr int kStripRow = kValues * 2;  // bytes

SSR_INLINE void Patches(const uint8_t* strip, uint8_t* patches) {
  constexpr __mmask32 kRow = 0x1ff;  // nine values
  for (int column = 0; column < kOutputs; ++column, strip += 3 * 2, patches += kLine) {
    __m512i patch = _mm512_maskz_loadu_epi16(kRow, strip);
    patch = _mm512_mask_loadu_epi16(patch, kRow << 9, strip + kStripRow - 9 * 2);
    patch = _mm512_mask_loadu_epi16(patch, kRow << 18, strip + 2 * kStripRow - 18 * 2);
    _mm512_store_si512(patches, patch);
  }
}

// `rows` rows of the picture in bf16, exactly: a byte has 8 bits.
SSR_INLINE void ToStrip(const uint8_t* image, int rows, uint8_t* strip) {
  for (int i = 0; i < rows * kValues; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(image + i));
    const __m512 values = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
    _mm256_store_si256(reinterpret_cast<__m256i*>(strip + 2 * i),
                       _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(values), 16)));
  }
}

template <typename A, bool kIsX>
void FinishFirst(const WordLayer& layer, int block, const uint8_t* sums, int windows, uint8_t* out) {
  const A finish(layer, block);
  const int64_t pixel = int64_t{layer.width} * A::kElement;
  out += block * 16 * A::kElement;
  for (int w = 0; w < windows; ++w, out += pixel, sums += kLine) {
    const __m512 a = _mm512_load_ps(sums), b = _mm512_load_ps(sums + kTile);
    const __m512 c = _mm512_load_ps(sums + 2 * kTile), d = _mm512_load_ps(sums + 3 * kTile);
    if constexpr (kIsX) {
      const auto above = A::Add(Relu<A>(finish.First(a)), Relu<A>(finish.First(b)));
      const auto below = A::Add(Relu<A>(finish.First(c)), Relu<A>(finish.First(d)));
      finish.StoreX(A::Add(above, below), 4, out);
    } else {
      finish.StoreS(finish.First(_mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d))), out);
    }
  }
}

// Both streams' first blocks, pooled, straight from the bytes.
template <typename A>
void ConvolveFirst(const WordNetwork& network, const uint8_t* image, uint8_t* work, uint8_t* out_x,
                   uint8_t* out_s) {
  constexpr int kWindows = kOutputs / 2, kAtOnce = 16;
  uint8_t *sums = work, *patches = sums + 4 * kTile, *strip = patches + 2 * kOutputs * kLine;
  const int blocks_x = network.width_x / 16, blocks = blocks_x + network.width_s / 16;
  Configure(kAtOnce, kLineWords);
  for (int y = 0; y < kWindows; ++y, image += 2 * kValues) {
    ToStrip(image, 4, strip);
    Patches(strip, patches);
    Patches(strip + kStripRow, patches + kOutputs * kLine);
    // The second half begins with the last window of the first.
    for (int window = 0; window < kWindows; window += kAtOnce - 1) {
      const uint8_t* in = patches + 2 * window * kLine;
      for (int block = 0; block < blocks; ++block) {
        const bool is_x = block < blocks_x;
        const WordLayer& layer = is_x ? network.x[0] : network.s[0];
        const int own = is_x ? block : block - blocks_x;
        const uint32_t* weights = layer.weights + own * A::kTerms * kTile / 4;
        _tile_loadd(6, weights, kLine);
        if constexpr (A::kTerms == 2) _tile_loadd(7, weights + kTile / 4, kLine);
#define SSR_POSITION(tile, offset)                                     \
  _tile_zero(tile);                                                    \
  _tile_loadd(4, in + (offset), 2 * kLine);                            \
  _tile_dpbf16ps(tile, 4, 6);                                          \
  if constexpr (A::kTerms == 2) _tile_dpbf16ps(tile, 4, 7);            \
  _tile_stored(tile, sums + (tile) * kTile, kLine);
        SSR_POSITION(0, 0)
        SSR_POSITION(1, kLine)
        SSR_POSITION(2, kOutputs * kLine)
        SSR_POSITION(3, (kOutputs + 1) * kLine)
#undef SSR_POSITION
        if (is_x) {
          FinishFirst<A, true>(layer, own, sums, kAtOnce, out_x + window * layer.width * A::kElement);
        } else {
          FinishFirst<A, false>(layer, own, sums, kAtOnce, out_s + window * layer.width * A::kElement);
        }
      }
      if (window > 0) break;
    }
    out_x += kWindows * network.width_x * A::kElement;
    out_s += kWindows * network.width_s * A::kElement;
  }
}

// A 1x1 convolution with ReLU and a pool (average for X, maximum for S); out: (side, side, fusion). A
// position is a row of pixels, of up to 16 of them and whole cells.
template <typename A, bool kIsX>
void Fuse(const WordLayer& layer, const StageWeights& stage, const uint8_t* in, int width, uint8_t* work,
          float* out) {
  const int size = kSizes[stage.level - 1], pool = stage.pool, side = stage.side;
  const int64_t pixel = int64_t{width} * A::kElement, in_row = size * pixel;
  const int64_t at[4] = {0, in_row, 2 * in_row, 3 * in_row};
  const int cells = side * pool <= 16 ? side : 1;           // of a tile
  const int rows = pool == 1 ? 4 : pool < 4 ? 2 : 4;        // of pixels, positions
  const int tall = pool == 1 ? 4 : 1;                       // rows of cells that the positions make
  Configure(cells * pool, layer.words);
  for (int block = 0; block < layer.width / 16; ++block) {
    const A finish(layer, block);
    for (int y = 0; y < side; y += tall) {
      for (int x = 0; x < side; x += cells) {
        typename A::Sum total[4][16];
        bool started = false;
        for (int row = 0; row < (pool == 1 ? 4 : pool); row += rows) {
          const uint8_t* from = in + (int64_t{y} * pool + row) * in_row + x * pool * pixel;
          if (rows == 2) {
            SumTiles<A, 2>(layer, block, 1, from, 0, at, pixel, work);
          } else {
            SumTiles<A, 4>(layer, block, 1, from, 0, at, pixel, work);
          }
          for (int position = 0; position < rows; ++position) {
            const int cell_row = pool == 1 ? position : 0;
            for (int c = 0; c < cells; ++c) {
              typename A::Sum& sum = total[cell_row][c];
              for (int i = 0; i < pool; ++i) {
                const auto one = A::Load(work + position * kTile + (c * pool + i) * kLine);
                const bool first = i == 0 && !started && (pool == 1 || position == 0);
                if constexpr (kIsX) {
                  sum = first ? Relu<A>(one) : A::Add(sum, Relu<A>(one));
                } else {
                  sum = first ? Relu<A>(one) : A::Max(sum, one);
                }
              }
            }
          }
          started = true;
        }
        for (int cell_row = 0; cell_row < tall; ++cell_row) {
          for (int c = 0; c < cells; ++c) {
            const int64_t cell = int64_t{y + cell_row} * side + x + c;
            _mm512_storeu_ps(out + cell * layer.width + 16 * block,
                             finish.Feature(total[cell_row][c], kIsX ? pool * pool : 1));
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
  _tile_release();
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
  alignas(64) static const uint8_t ones[kTile] = {1};
  alignas(64) uint8_t sums[kTile];
  rounds /= 64;
  Configure(16, kLineWords);
  _tile_loadd(4, ones, kLine);
  _tile_loadd(6, ones, kLine);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t round = 0; round < rounds; ++round) {
    if constexpr (A::kElement == 1) {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 6);
      _tile_dpbusd(2, 4, 6);
      _tile_dpbusd(3, 4, 6);
    } else {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 6);
      _tile_dpbf16ps(2, 4, 6);
      _tile_dpbf16ps(3, 4, 6);
    }
  }
  _tile_stored(0, sums, kLine);
  _tile_release();
  *value += static_cast<float>(sums[0] & 1);
  return rounds * 4 * 16 * 16 * kLineWords * (4 / A::kElement);
}

}  // namespace

int64_t MultiplyAddInt8Amx(int64_t rounds, float* value) { return MultiplyAdd<Int8>(rounds, value); }
int64_t MultiplyAddBf16Amx(int64_t rounds, float* value) { return MultiplyAdd<Bf16>(rounds, value); }

}  // namespace ssr::cpu
