// Both streams' first blocks in tiles, straight from the picture's bytes. Include inside an unnamed
// namespace, after "cpu/amx_sums.inl.h".

// The first blocks read the picture in bf16 (exactly: a byte has 8 bits), three rows interleaved: for each
// column its three rows' channels, so that the 27 inputs of a pixel are 54 bytes in a row, and the next
// pixel's begin 18 bytes on.
constexpr int kRowValues = kImageRow, kRowBytes = 2 * kRowValues;
constexpr int kColumnValues = 9, kColumnBytes = 2 * kColumnValues;
constexpr int kStripBytes = kImageSize * kColumnBytes;

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

// Windows [begin, end) of a row of them: four tiles of sums to a row of the map, for one block of channels.
// The sums are floats and lack their bias: max(sum + bias, 0) is max(sum, -bias) + bias.
template <typename A, bool kIsX>
SSR_INLINE void FinishFirst(const QuantizedLayer& layer, int block, const uint8_t* sums, int begin, int end,
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

// 16 output channels of either stream's first block.
struct FirstBlock {
  const QuantizedLayer* layer;
  int block;
  bool is_x;

  FirstBlock(const QuantizedNetwork& network, int index) {
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
SSR_INLINE void SumFirst(const QuantizedNetwork& network, int index, const uint8_t* above,
                         const uint8_t* below, uint8_t* sums, const Meanwhile& meanwhile) {
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
  SSR_INLINE void Finish(const QuantizedNetwork& network, const uint8_t* sums, int quarter) const {
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
void ConvolveFirst(const QuantizedNetwork& network, const uint8_t* image, uint8_t* work, uint8_t* out_x,
                   uint8_t* out_s) {
  constexpr int kWindows = (kImageSize - 2) / 2;
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
