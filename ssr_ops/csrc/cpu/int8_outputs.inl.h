// What becomes of int8's sums (see core/quantize.h), over `Vec` of float32, `Int32s` of int32 and
// `StoreBytes`; include before int8.inl.h.
//
// Vec: Load, Store, Broadcast, *, Min, Max, Fma(a, b, c) = a * b + c rounded once. Int32s: Load, Zero, Max,
// +, Real() and Nearest(Vec), to even. StoreBytes(values in 0..255, out): as the maps hold them.
struct Int8Outputs {
  const Vec scale;

  static Int32s Bias(const QuantizedLayer& layer, int channel) { return Int32s::Load(layer.bias + channel); }
  Int8Outputs(const QuantizedLayer& layer, int channel) : scale(Vec::Load(layer.scale + channel)) {}

  // A mean over a pool is in the scale.
  void StoreX(Int32s total, uint8_t* out) const {
    StoreBytes(Int32s::Nearest(Vec::Min(total.Real() * scale, Vec::Broadcast(255.0f))), out);
  }
  void StoreS(Int32s most, uint8_t* out) const {
    const Vec limit = Vec::Broadcast(kTanhLimit);
    const Vec v = Vec::Max(Vec::Min(most.Real() * scale, limit), Vec::Broadcast(-kTanhLimit));
    const Vec square = v * v;
    Vec p = Vec::Broadcast(kTanh127[kTanhTerms - 1]);
#pragma GCC unroll 16
    for (int i = kTanhTerms - 2; i >= 0; --i) p = Vec::Fma(p, square, Vec::Broadcast(kTanh127[i]));
    StoreBytes(Int32s::Nearest(v * p) + Int32s::Broadcast(128), out);
  }
  void Feature(Int32s total, float* out) const { (total.Real() * scale).Store(out); }
};
