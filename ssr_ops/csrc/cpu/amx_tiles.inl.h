// AMX's instructions, with tiles as template arguments, and the shapes of tiles. Include inside an unnamed
// namespace, after <immintrin.h> and "cpu/quantized.h"; see quantized_amx.cc.

#define SSR_INLINE inline __attribute__((always_inline))

constexpr int kLine = 64;          // bytes of a tile's row
constexpr int kTile = 16 * kLine;  // bytes
constexpr int kLineWords = 16;     // of 32 bits

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
