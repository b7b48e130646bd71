// int8 in words (see cpu/quantized.h), written once over a few small types and compiled per instruction
// set. Include inside an unnamed namespace, after `Isa` and `Tuning`; see int8_avx512vnni.cc.
//
// Isa: kElement, bytes of a map's value; kSumStage, of the dense layers; and
//   Sums: kLanes output channels' sums at one position; Zero, Max, +, -, Half
//   Inputs, Weights: Broadcast(p) is one word of the inputs for all lanes, Load(p) kLanes words of weights
//   Dot<kFirst>(sums, inputs, weights): sums + inputs * weights; kFirst: words of 16 bits, see
//   QuantizedNetwork Outputs(layer, channel): what becomes of the sums of kLanes channels: Bias() to begin
//   with, then
//     StoreX(sums over a pool, out), StoreS(maxima, out), Feature(sums or maxima, out)
// Tuning: the register block of each kind of layer, in vectors of channels and columns of pixels.
//
// As in network.inl.h channels lie in the lanes and a register block covers two rows and some columns, so
// that a 2x2 pool happens in registers. Outputs that no pool reads are not computed.

#define SSR_INLINE inline __attribute__((always_inline))
#define SSR_UNROLL _Pragma("GCC unroll 32")
#define SSR_ROLLED _Pragma("GCC unroll 1")  // an unrolled reduction would spill the sums

using Sums = Isa::Sums;
using Outputs = Isa::Outputs;

constexpr int kLanes = Sums::kLanes;
constexpr int kLine = 16;       // output channels of a block of weights
constexpr int kFirstWords = 5;  // of a kernel row of the first blocks
constexpr int kFirstPositions = 4;

// Where a layer of one stream reads its weights and writes its outputs, from one channel on.
struct Side {
  const QuantizedLayer* layer = nullptr;
  int channel = 0;
  uint8_t* out = nullptr;
  int64_t out_row = 0;  // bytes a row of the output

  int Pixel() const { return layer->width * Isa::kElement; }  // bytes
};

// Words from a layer's first weight to those of `channel`.
SSR_INLINE int64_t WeightsAt(int channel, int kernel_rows, int words) {
  return int64_t{channel / kLine} * kernel_rows * words * kLine + channel % kLine;
}

// The bias of vector v of kX of X, then of S.
template <int kX>
SSR_INLINE Sums BiasOf(const Side& x, const Side& s, int v) {
  return v < kX ? Outputs::Bias(*x.layer, x.channel + v * kLanes)
                : Outputs::Bias(*s.layer, s.channel + (v - kX) * kLanes);
}

// The weights of vector v at a word, given where those of the first vectors lie.
template <int kX>
SSR_INLINE Isa::Weights WeightsOf(const uint32_t* x, const uint32_t* s, int v, int kernel_rows, int words) {
  return Isa::Load(v < kX ? x + WeightsAt(v * kLanes, kernel_rows, words)
                          : s + WeightsAt((v - kX) * kLanes, kernel_rows, words));
}

// Two rows of sums to the maps. kHalve: sums are twice what they should be.
template <int kX, int kV, int kColumns, bool kPooled, bool kHalve>
SSR_INLINE void StoreBlock(const Sums (&sum)[2][kColumns][kV], const Side& x, const Side& s) {
  const auto finished = [](auto value) {
    if constexpr (kHalve) value = Half(value);
    return value;
  };
  SSR_UNROLL for (int v = 0; v < kV; ++v) {
    const Side& side = v < kX ? x : s;
    const int at = (v < kX ? v : v - kX) * kLanes;
    const Outputs outputs(*side.layer, side.channel + at);
    uint8_t* out = side.out + at * Isa::kElement;
    const int pixel = side.Pixel();
    if constexpr (kPooled) {
      static_assert(kColumns % 2 == 0, "a 2x2 pool needs an even number of columns");
      SSR_UNROLL for (int c = 0; c < kColumns; c += 2, out += pixel) {
        const Sums above = v < kX ? Max(sum[0][c][v], Sums::Zero()) + Max(sum[0][c + 1][v], Sums::Zero())
                                  : Max(sum[0][c][v], sum[0][c + 1][v]);
        const Sums below = v < kX ? Max(sum[1][c][v], Sums::Zero()) + Max(sum[1][c + 1][v], Sums::Zero())
                                  : Max(sum[1][c][v], sum[1][c + 1][v]);
        if (v < kX) {
          outputs.StoreX(finished(above + below), out);
        } else {
          outputs.StoreS(finished(Max(above, below)), out);
        }
      }
    } else {
      SSR_UNROLL for (int c = 0; c < kColumns; ++c, out += pixel) {
        SSR_UNROLL for (int r = 0; r < 2; ++r) {
          if (v < kX) {
            outputs.StoreX(Max(sum[r][c][v], Sums::Zero()), out + r * side.out_row);
          } else {
            outputs.StoreS(sum[r][c][v], out + r * side.out_row);
          }
        }
      }
    }
  }
}

// Outputs (two rows) x kColumns: kX vectors of X channels, kS vectors of S channels. kStride: bytes an input
// pixel, 0 if known only at run time. kPooled: a 2x2 pool follows, average for X, maximum for S.
template <int kX, int kS, int kColumns, int kStride, bool kPooled>
SSR_INLINE void ConvolveBlock(const uint8_t* in, int64_t in_row, int in_stride, const Side& x,
                              const Side& s) {
  constexpr int kV = kX + kS;
  const int stride = kStride > 0 ? kStride : in_stride;
  const int words = 3 * stride / 4;
  const uint32_t* weights_x = kX > 0 ? x.layer->weights + WeightsAt(x.channel, 3, words) : nullptr;
  const uint32_t* weights_s = kS > 0 ? s.layer->weights + WeightsAt(s.channel, 3, words) : nullptr;
  Sums sum[2][kColumns][kV];
  SSR_UNROLL for (int v = 0; v < kV; ++v) {
    const Sums bias = BiasOf<kX>(x, s, v);
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[0][c][v] = sum[1][c][v] = bias;
  }
  SSR_ROLLED for (int ky = 0; ky < 3; ++ky) {
    const uint8_t* upper = in + ky * in_row;
    const uint8_t* lower = upper + in_row;
    SSR_ROLLED for (int j = 0; j < words; ++j) {
      Isa::Weights w[kV];
      SSR_UNROLL for (int v = 0; v < kV; ++v) w[v] = WeightsOf<kX>(weights_x, weights_s, v, 3, words);
      if (kX > 0) weights_x += kLine;
      if (kS > 0) weights_s += kLine;
      SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
        const Isa::Inputs a = Isa::Broadcast(upper + 4 * j + c * stride);
        SSR_UNROLL for (int v = 0; v < kV; ++v) sum[0][c][v] = Isa::Dot<false>(sum[0][c][v], a, w[v]);
      }
      SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
        const Isa::Inputs a = Isa::Broadcast(lower + 4 * j + c * stride);
        SSR_UNROLL for (int v = 0; v < kV; ++v) sum[1][c][v] = Isa::Dot<false>(sum[1][c][v], a, w[v]);
      }
    }
  }
  StoreBlock<kX, kV, kColumns, kPooled, false>(sum, x, s);
}

// sum[column][v] += one kernel row's products; for ConvolveFirstBlock.
template <int kX, int kV, int kColumns>
SSR_INLINE void AddFirstRow(const uint8_t* in, const uint32_t* weights_x, const uint32_t* weights_s,
                            Sums (&sum)[kColumns][kV]) {
  constexpr int kPixel = 3 * sizeof(int16_t);
  SSR_ROLLED for (int j = 0; j < kFirstWords; ++j) {
    Isa::Weights w[kV];
    SSR_UNROLL for (int v = 0; v < kV; ++v) {
      w[v] = WeightsOf<kX>(weights_x, weights_s, v, kFirstPositions, kFirstWords);
    }
    if (kX > 0) weights_x += kLine;
    if (kV > kX) weights_s += kLine;
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
      const Isa::Inputs a = Isa::Broadcast(in + 4 * j + c * kPixel);
      SSR_UNROLL for (int v = 0; v < kV; ++v) sum[c][v] = Isa::Dot<true>(sum[c][v], a, w[v]);
    }
  }
}

// As ConvolveBlock, of a first block: by Winograd's F(2, 3) down the columns (see
// first_block.inl.h), two rows of sums from four products instead of six. in: the first of the transformed
// rows.
template <int kX, int kS, int kColumns>
SSR_INLINE void ConvolveFirstBlock(const uint8_t* in, int64_t in_row, const Side& x, const Side& s) {
  constexpr int kV = kX + kS;
  const auto add = [&](int position, Sums(&sum)[kColumns][kV]) {
    const int row = position * kFirstWords * kLine;
    const auto weights = [row](const Side& side) {
      return side.layer->weights + WeightsAt(side.channel, kFirstPositions, kFirstWords) + row;
    };
    AddFirstRow<kX>(in + position * in_row, kX > 0 ? weights(x) : nullptr, kS > 0 ? weights(s) : nullptr,
                    sum);
  };
  Sums sum[2][kColumns][kV], part[kColumns][kV];
  SSR_UNROLL for (int v = 0; v < kV; ++v) {
    const Sums bias = BiasOf<kX>(x, s, v);
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[0][c][v] = sum[1][c][v] = bias;
  }
  add(0, sum[0]);
  add(3, sum[1]);
  SSR_UNROLL for (int position = 1; position < 3; ++position) {
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
      SSR_UNROLL for (int v = 0; v < kV; ++v) part[c][v] = Sums::Zero();
    }
    add(position, part);
    SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
      SSR_UNROLL for (int v = 0; v < kV; ++v) {
        sum[0][c][v] = sum[0][c][v] + part[c][v];
        sum[1][c][v] = position == 1 ? sum[1][c][v] + part[c][v] : sum[1][c][v] - part[c][v];
      }
    }
  }
  StoreBlock<kX, kV, kColumns, true, true>(sum, x, s);
}

// As many blocks of kColumns as fit into columns [column, end); returns the first column left over.
template <int kX, int kS, int kColumns, bool kFirst, int kStride, bool kPooled>
SSR_INLINE int ConvolveColumns(const uint8_t* in, int64_t in_row, int in_stride, int column, int end, Side x,
                               Side s) {
  constexpr int kShrink = kPooled ? 2 : 1;
  if (kX > 0) x.out += column / kShrink * x.Pixel();
  if (kS > 0) s.out += column / kShrink * s.Pixel();
  for (; column + kColumns <= end; column += kColumns) {
    const uint8_t* from = in + column * in_stride;
    if constexpr (kFirst) {
      ConvolveFirstBlock<kX, kS, kColumns>(from, in_row, x, s);
    } else {
      ConvolveBlock<kX, kS, kColumns, kStride, kPooled>(from, in_row, in_stride, x, s);
    }
    if (kX > 0) x.out += kColumns / kShrink * x.Pixel();
    if (kS > 0) s.out += kColumns / kShrink * s.Pixel();
  }
  return column;
}

// All (an even number of) columns of two rows: wide blocks, then narrower ones for the rest.
template <int kX, int kS, int kColumns, bool kFirst, int kStride, bool kPooled>
void ConvolveRows(const uint8_t* in, int64_t in_row, int in_stride, int columns, const Side& x,
                  const Side& s) {
  int column = 0;
  column = ConvolveColumns<kX, kS, kColumns, kFirst, kStride, kPooled>(in, in_row, in_stride, column, columns,
                                                                       x, s);
  if constexpr (kColumns > 4) {
    column =
        ConvolveColumns<kX, kS, 4, kFirst, kStride, kPooled>(in, in_row, in_stride, column, columns, x, s);
  }
  if constexpr (kColumns > 2) {
    ConvolveColumns<kX, kS, 2, kFirst, kStride, kPooled>(in, in_row, in_stride, column, columns, x, s);
  }
}

// One stream's layer over a (size, size) input.
template <bool kIsX, int kVectors, int kColumns, int kStride, bool kPooled>
void ConvolveLayer(const uint8_t* in, int size, const QuantizedLayer& layer, uint8_t* out) {
  const int outputs = kPooled ? (size - 2) / 2 * 2 : size - 2;
  const int stride = layer.words * 4 / 3;
  const int64_t in_row = int64_t{size} * stride;
  const int64_t out_row = int64_t{kPooled ? outputs / 2 : outputs} * layer.width * Isa::kElement;
  for (int y = 0; y < outputs; y += 2, out += kPooled ? out_row : 2 * out_row) {
    for (int channel = 0; channel < layer.width; channel += kVectors * kLanes) {
      const Side side{&layer, channel, out + channel * Isa::kElement, out_row};
      ConvolveRows<kIsX ? kVectors : 0, kIsX ? 0 : kVectors, kColumns, false, kStride, kPooled>(
          in + y * in_row, in_row, stride, outputs, side, side);
    }
  }
}

template <bool kIsX>
constexpr int kReleased = (kIsX ? 32 : 16) * Isa::kElement;  // bytes a pixel that get the fast path

template <bool kIsX, bool kPooled>
void Convolve(const uint8_t* in, int size, const QuantizedLayer& layer, uint8_t* out) {
  constexpr int kVectors = kIsX ? Tuning::kVectorsX : Tuning::kVectorsS;
  constexpr int kColumns = kIsX ? Tuning::kColumnsX : Tuning::kColumnsS;
  if (layer.width * Isa::kElement == kReleased<kIsX>) {
    ConvolveLayer<kIsX, kVectors, kColumns, kReleased<kIsX>, kPooled>(in, size, layer, out);
  } else {
    ConvolveLayer<kIsX, 1, 2, 0, kPooled>(in, size, layer, out);
  }
}

// Four rows of the picture, transformed as ConvolveFirstBlock takes them.
void FillStrip(const uint8_t* image, int16_t* strip) {
  constexpr int kRow = kImageRow;
  for (int i = 0; i < kRow; ++i) {
    const int d0 = image[i], d1 = image[kRow + i], d2 = image[2 * kRow + i], d3 = image[3 * kRow + i];
    strip[i] = static_cast<int16_t>(d0 - d2);
    strip[kRow + i] = static_cast<int16_t>(d1 + d2);
    strip[2 * kRow + i] = static_cast<int16_t>(d2 - d1);
    strip[3 * kRow + i] = static_cast<int16_t>(d3 - d1);
  }
}

// Both streams' first layer, straight from the bytes through a strip of four rows.
void ConvolveFirst(const QuantizedNetwork& network, const uint8_t* image, int16_t* strip, uint8_t* out_x,
                   uint8_t* out_s) {
  constexpr int kOutputs = Convolved(kImageSize), kRow = kImageRow, kX = Tuning::kFirstX,
                kS = Tuning::kFirstS;
  constexpr int kPixel = 3 * sizeof(int16_t);
  static_assert((4 * kRow + 1) * sizeof(int16_t) <= kWorkBytes, "the strip and a last word's second half");
  const QuantizedLayer &x = network.x[0], &s = network.s[0];
  const int64_t row_x = kOutputs / 2 * int64_t{x.width} * Isa::kElement;
  const int64_t row_s = kOutputs / 2 * int64_t{s.width} * Isa::kElement;
  const auto side = [](const QuantizedLayer& layer, int channel, uint8_t* out, int64_t row) {
    return Side{&layer, channel, out + channel * Isa::kElement, row};
  };
  const auto* in = reinterpret_cast<const uint8_t*>(strip);
  for (int y = 0; y < kOutputs; y += 2, out_x += row_x, out_s += row_s) {
    FillStrip(image + y * kRow, strip);
    // While both streams have channels left they share a block, so that each word is broadcast once.
    int done_x = 0, done_s = 0;
    while (done_x + kX * kLanes <= x.width && done_s + kS * kLanes <= s.width) {
      ConvolveRows<kX, kS, Tuning::kFirstColumns, true, kPixel, true>(in, kPixel * kImageSize, kPixel,
                                                                      kOutputs, side(x, done_x, out_x, row_x),
                                                                      side(s, done_s, out_s, row_s));
      done_x += kX * kLanes;
      done_s += kS * kLanes;
    }
    for (; done_x < x.width; done_x += kLanes) {
      ConvolveRows<1, 0, Tuning::kFirstRest, true, kPixel, true>(in, kPixel * kImageSize, kPixel, kOutputs,
                                                                 side(x, done_x, out_x, row_x), {});
    }
    for (; done_s < s.width; done_s += kLanes) {
      ConvolveRows<0, 1, Tuning::kFirstRest, true, kPixel, true>(in, kPixel * kImageSize, kPixel, kOutputs,
                                                                 {}, side(s, done_s, out_s, row_s));
    }
  }
}

// A 1x1 convolution with ReLU and a kPool x kPool pool (average for X, maximum for S; 1: none), for kLanes
// fusion channels. in: (size, size, stride bytes); out: (side, side, fusion).
template <bool kIsX, int kPool, int kStride>
void FuseVector(const uint8_t* in, int size, int in_stride, const QuantizedLayer& layer, int channel,
                int side, float* out) {
  constexpr int kRows = kPool == 1 ? 1 : 2, kColumns = kPool == 1 ? 4 : kPool;
  const int stride = kStride > 0 ? kStride : in_stride;
  const int words = stride / 4;
  const uint32_t* weights = layer.weights + WeightsAt(channel, 1, words);
  const Sums bias = Outputs::Bias(layer, channel);
  const Outputs outputs(layer, channel);
  out += channel;
  const int cells = kPool == 1 ? side / kColumns : side;  // without a pool, a block is four cells
  for (int y = 0; y < side; ++y) {
    for (int cell = 0; cell < cells; ++cell) {
      Sums total = Sums::Zero();
      for (int row = 0; row < kPool; row += kRows) {
        const uint8_t* upper = in + (int64_t{y * kPool + row} * size + cell * kColumns) * stride;
        const uint8_t* lower = kRows == 2 ? upper + int64_t{size} * stride : upper;
        Sums sum[kRows][kColumns];
        SSR_UNROLL for (int r = 0; r < kRows; ++r) {
          SSR_UNROLL for (int c = 0; c < kColumns; ++c) sum[r][c] = bias;
        }
        SSR_ROLLED for (int j = 0; j < words; ++j) {
          const Isa::Weights w = Isa::Load(weights + j * kLine);
          SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
            sum[0][c] = Isa::Dot<false>(sum[0][c], Isa::Broadcast(upper + 4 * j + c * stride), w);
            if (kRows == 2) {
              sum[kRows - 1][c] =
                  Isa::Dot<false>(sum[kRows - 1][c], Isa::Broadcast(lower + 4 * j + c * stride), w);
            }
          }
        }
        SSR_UNROLL for (int r = 0; r < kRows; ++r) {
          SSR_UNROLL for (int c = 0; c < kColumns; ++c) {
            const Sums value = Max(sum[r][c], Sums::Zero());
            if (kPool == 1) {
              outputs.Feature(value, out + int64_t{y * side + cell * kColumns + c} * layer.width);
            } else {
              total = kIsX ? total + value : Max(total, value);
            }
          }
        }
      }
      if (kPool > 1) {
        outputs.Feature(total, out + int64_t{y * side + cell} * layer.width);
      }
    }
  }
}

template <bool kIsX, int kPool>
void Fuse(const uint8_t* in, int size, const QuantizedLayer& layer, int side, float* out) {
  const int stride = layer.words * 4;
  for (int channel = 0; channel < layer.width; channel += kLanes) {
    if (stride == kReleased<kIsX>) {
      FuseVector<kIsX, kPool, kReleased<kIsX>>(in, size, stride, layer, channel, side, out);
    } else {
      FuseVector<kIsX, kPool, 0>(in, size, stride, layer, channel, side, out);
    }
  }
}

template <bool kIsX>
void FuseStage(const QuantizedStage& stage, const uint8_t* in, int size, float* out) {
  const QuantizedLayer& layer = kIsX ? stage.fuse_x : stage.fuse_s;
  switch (stage.dense.pool) {
    case 1:
      return Fuse<kIsX, 1>(in, size, layer, stage.dense.side, out);
    case 2:
      return Fuse<kIsX, 2>(in, size, layer, stage.dense.side, out);
    case 4:
      return Fuse<kIsX, 4>(in, size, layer, stage.dense.side, out);
    default:
      return Fuse<kIsX, 8>(in, size, layer, stage.dense.side, out);
  }
}

// See QuantizedKernel.
void RunNetwork(const QuantizedNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  uint8_t *x[4], *s[4];
  for (int level = 0; level < 4; ++level) {
    x[level] = scratch + network.map_x[level];
    s[level] = scratch + network.map_s[level];
  }
  ConvolveFirst(network, image, reinterpret_cast<int16_t*>(scratch + network.work), x[0], s[0]);
  SSR_LAYER_DONE();
  Convolve<true, true>(x[0], kMap0, network.x[1], x[1]);
  SSR_LAYER_DONE();
  Convolve<false, true>(s[0], kMap0, network.s[1], s[1]);
  SSR_LAYER_DONE();
  Convolve<true, true>(x[1], kMap1, network.x[2], x[2]);
  SSR_LAYER_DONE();
  Convolve<false, true>(s[1], kMap1, network.s[2], s[2]);
  SSR_LAYER_DONE();
  Convolve<true, false>(x[2], kMap2, network.x[3], x[3]);
  SSR_LAYER_DONE();
  Convolve<false, false>(s[2], kMap2, network.s[3], s[3]);
  SSR_LAYER_DONE();
  for (int k = 0; k < network.num_stages; ++k) {
    const QuantizedStage& stage = network.stages[k];
    const int level = stage.dense.level - 1;
    const int64_t count = int64_t{stage.dense.side} * stage.dense.side * network.width_fusion;
    float* fx = reinterpret_cast<float*>(scratch + network.features);
    float *fs = fx + count, *product = fs + count;
    FuseStage<true>(stage, x[level], kMapSizes[level], fx);
    FuseStage<false>(stage, s[level], kMapSizes[level], fs);
    dots = Isa::kSumStage(stage.dense, count, fx, fs, product, dots);
    SSR_LAYER_DONE();
  }
}

#undef SSR_ROLLED
#undef SSR_UNROLL
#undef SSR_INLINE
