// int8 and bf16 in AMX: tiles of 16 output channels by up to 16 pixels or pool windows.
//
// A tile of inputs is read straight from the map: its rows are windows (or pixels), its columns 64 bytes of
// consecutive channels, across pixels. The four sums of a 2x2 pool are four tiles of one shape, so that a
// pool is the sum or maximum of four vectors. An instruction takes as many cycles as the tile of inputs has
// rows, whatever the width of a row.
#include <immintrin.h>

#include "cpu/quantized.h"

namespace ssr::cpu {
namespace {

#include "cpu/amx_tiles.inl.h"
// Tiles first, then what becomes of them.
#include "cpu/amx_sums.inl.h"
// Then a whole layer.
#include "cpu/amx_first_block.inl.h"

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
SSR_INLINE void SumTiles(const QuantizedLayer& layer, int block, int kernel_rows, const uint8_t* in,
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

// Windows [begin, end) of a row of them: four tiles of sums to a row of the map, for one block of channels.
template <typename A, bool kIsX>
SSR_INLINE void FinishPooled(const QuantizedLayer& layer, int block, const uint8_t* sums, int begin, int end,
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

// A 3x3 convolution whose outputs are pooled 2 by 2: average for X, maximum for S. Levels 2 and 3. Vectors
// finish a block while the tiles of the next are summed: two sets of sums.
template <typename A, bool kIsX>
void ConvolvePooled(const QuantizedLayer& layer, const uint8_t* in, int size, uint8_t* work, uint8_t* out) {
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
void ConvolveLast(const QuantizedLayer& layer, const uint8_t* in, uint8_t* work, uint8_t* out) {
  constexpr int kOutputs = kMap3;
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

// A 1x1 convolution with ReLU and a pool (average for X, maximum for S); out: (side, side, fusion). A tile
// is whole cells of a row of pixels, 16 of them at most; positions are rows.
template <typename A, bool kIsX>
void Fuse(const QuantizedLayer& layer, const StageWeights& stage, const uint8_t* in, int width, uint8_t* work,
          float* out) {
  const int size = kMapSizes[stage.level - 1], pool = stage.pool, side = stage.side, used = side * pool;
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
void Run(const QuantizedNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  uint8_t *x[4], *s[4], *work = scratch + network.work;
  for (int level = 0; level < 4; ++level) {
    x[level] = scratch + network.map_x[level];
    s[level] = scratch + network.map_s[level];
  }
  ConvolveFirst<A>(network, image, work, x[0], s[0]);
  SSR_LAYER_DONE();
  ConvolvePooled<A, true>(network.x[1], x[0], kMap0, work, x[1]);
  SSR_LAYER_DONE();
  ConvolvePooled<A, false>(network.s[1], s[0], kMap0, work, s[1]);
  SSR_LAYER_DONE();
  ConvolvePooled<A, true>(network.x[2], x[1], kMap1, work, x[2]);
  SSR_LAYER_DONE();
  ConvolvePooled<A, false>(network.s[2], s[1], kMap1, work, s[2]);
  SSR_LAYER_DONE();
  ConvolveLast<A, true>(network.x[3], x[2], work, x[3]);
  SSR_LAYER_DONE();
  ConvolveLast<A, false>(network.s[3], s[2], work, s[3]);
  SSR_LAYER_DONE();
  for (int k = 0; k < network.num_stages; ++k) {
    const QuantizedStage& stage = network.stages[k];
    const int level = stage.dense.level - 1;
    const int64_t count = int64_t{stage.dense.side} * stage.dense.side * network.width_fusion;
    float* fx = reinterpret_cast<float*>(scratch + network.features);
    float *fs = fx + count, *product = fs + count;
    Fuse<A, true>(stage.fuse_x, stage.dense, x[level], network.width_x, work, fx);
    Fuse<A, false>(stage.fuse_s, stage.dense, s[level], network.width_s, work, fs);
    dots = SumStageAvx512(stage.dense, count, fx, fs, product, dots);
    SSR_LAYER_DONE();
  }
  Release();
}

#undef SSR_INLINE

}  // namespace

void RunInt8Amx(const QuantizedNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  Run<Int8>(network, image, scratch, dots);
}

void RunBf16Amx(const QuantizedNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  Run<Bf16>(network, image, scratch, dots);
}

}  // namespace ssr::cpu
