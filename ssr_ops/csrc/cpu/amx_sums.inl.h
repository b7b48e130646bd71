// What a tile of sums is in int8 and in bf16, and what becomes of it. Include inside an unnamed namespace,
// after "cpu/amx_tiles.inl.h".

SSR_INLINE void StoreBytes(__m512i values, uint8_t* out) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtusepi32_epi8(values));
}

// What a sum is and what becomes of it, for 16 output channels; see core/quantize.h. The first blocks' sums
// are floats in both: for int8 they are whole numbers below 2^24, and so are their sums over a pool.
struct Int8 {
  using Sum = __m512i;
  static constexpr int kElement = 1;  // bytes of the maps'

  __m512 scale;
  Int8(const QuantizedLayer& layer, int block) : scale(_mm512_loadu_ps(layer.scale + 16 * block)) {}

  static const void* TileBias(const QuantizedLayer& layer, int block) { return layer.bias + 16 * block; }
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

  Bf16(const QuantizedLayer& /*layer*/, int /*block*/) {}

  static const void* TileBias(const QuantizedLayer& layer, int block) { return layer.real_bias + 16 * block; }
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

// tanh |v| = (1 - e) / (1 + e) with e = exp(-2 |v|) = 2^n 2^f. A term less than tanh.inl.h: for bf16.
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

template <typename A>
SSR_INLINE typename A::Sum Relu(typename A::Sum sum) {
  return A::Max(sum, A::Zero());
}
