// Four float32 in the compiler's own vector type: the `Vec` of the kernels' bodies, in each translation unit
// for itself.
#pragma once

#include <cstdint>
#include <cstring>

namespace ssr::cpu {
namespace {

typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));

struct Vec {
  static constexpr int kLanes = 4;
  Floats v;

  static Vec Load(const float* p) {
    Vec result;
    std::memcpy(&result.v, p, sizeof(result.v));
    return result;
  }
  void Store(float* p) const { std::memcpy(p, &v, sizeof(v)); }
  static Vec Broadcast(float f) { return {Floats{f, f, f, f}}; }
  static Vec Bytes(const uint8_t* p) {
    return {Floats{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
                   static_cast<float>(p[3])}};
  }
  friend Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
  friend Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
  friend Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
  friend Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
  // Rounded once where SSR_FUSED is defined, as int8 wants it.
  static Vec Fma(Vec a, Vec b, Vec c) {
#ifdef SSR_FUSED
    for (int i = 0; i < kLanes; ++i) c.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
    return c;
#else
    return {a.v * b.v + c.v};
#endif
  }
  static Vec Max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
  static Vec Min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }
  static Vec Abs(Vec a) { return {(Floats)((Ints)a.v & 0x7fffffff)}; }
  static Vec CopySign(Vec magnitude, Vec sign) {
    return {(Floats)((Ints)magnitude.v | ((Ints)sign.v & static_cast<int32_t>(0x80000000)))};
  }
  static Vec ShiftLeft23(Vec a) { return {(Floats)((Ints)a.v << 23)}; }
  static Vec AddBits(Vec a, Vec b) { return {(Floats)((Ints)a.v + (Ints)b.v)}; }
};

}  // namespace
}  // namespace ssr::cpu
