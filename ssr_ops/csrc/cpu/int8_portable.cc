// The network in int8 for any CPU that GCC or Clang compiles for, in the compiler's own vector types: four
// lanes of int32, words of two int16.
#include <cstring>

#define SSR_FUSED
#include "cpu/quantized.h"
#include "cpu/vec_portable.h"

namespace ssr::cpu {
namespace {

typedef int16_t Shorts __attribute__((vector_size(16)));

struct Int32s {
  static constexpr int kLanes = 4;
  Ints v;

  static Int32s Load(const int32_t* p) {
    Int32s result;
    std::memcpy(&result.v, p, sizeof(result.v));
    return result;
  }
  static Int32s Broadcast(int32_t i) { return {Ints{i, i, i, i}}; }
  static Int32s Zero() { return Broadcast(0); }
  friend Int32s operator+(Int32s a, Int32s b) { return {a.v + b.v}; }
  friend Int32s operator-(Int32s a, Int32s b) { return {a.v - b.v}; }
  friend Int32s Half(Int32s a) { return {a.v >> 1}; }
  friend Int32s Max(Int32s a, Int32s b) { return {a.v > b.v ? a.v : b.v}; }
  Vec Real() const { return {__builtin_convertvector(v, Floats)}; }
  // Of values within 2^22, whose lowest bit the sum keeps.
  static Int32s Nearest(Vec value) {
    const Vec magic = Vec::Broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    return {__builtin_convertvector(value.v + magic.v - magic.v, Ints)};
  }
};

void StoreBytes(Int32s values, uint8_t* out) {
  uint16_t lanes[4];
  for (int i = 0; i < 4; ++i) lanes[i] = static_cast<uint16_t>(values.v[i]);
  std::memcpy(out, lanes, sizeof(lanes));
}

#include "cpu/int8_outputs.inl.h"

struct Isa {
  static constexpr int kElement = 2;
  static constexpr SumStageKernel kSumStage = SumStagePortable;
  using Sums = Int32s;
  using Outputs = Int8Outputs;
  using Weights = Ints;
  using Inputs = Ints;

  static Inputs Broadcast(const uint8_t* p) {
    int32_t word = 0;
    std::memcpy(&word, p, sizeof(word));
    return Ints{word, word, word, word};
  }
  static Weights Load(const uint32_t* p) {
    Ints result;
    std::memcpy(&result, p, sizeof(result));
    return result;
  }
  template <bool kFirst>
  static Sums Dot(Sums sums, Inputs a, Weights b) {
#ifdef __SSE2__  // x86-64's baseline
    return {sums.v + (Ints)__builtin_ia32_pmaddwd128((Shorts)a, (Shorts)b)};
#else
    return {sums.v + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16)};
#endif
  }
};

// 8 sums of the 16 registers.
struct Tuning {
  static constexpr int kFirstX = 2, kFirstS = 0, kFirstColumns = 2, kFirstRest = 2;
  static constexpr int kVectorsX = 2, kColumnsX = 2;
  static constexpr int kVectorsS = 2, kColumnsS = 2;
};

#include "cpu/int8.inl.h"

}  // namespace

void RunInt8Portable(const QuantizedNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  RunNetwork(network, image, scratch, dots);
}

}  // namespace ssr::cpu
