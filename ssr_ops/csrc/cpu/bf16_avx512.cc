// The network in bf16 in AVX-512 with BF16: words of two bfloat16, sums and activations in float32.
#include "cpu/vec_avx512.h"
#include "cpu/words.h"

namespace ssr::cpu {
namespace {

#include "cpu/tanh_body.h"

struct Float32s {
  static constexpr int kLanes = 16;
  Vec v;

  static Float32s Zero() { return {Vec::Broadcast(0.0f)}; }
  friend Float32s operator+(Float32s a, Float32s b) { return {a.v + b.v}; }
  friend Float32s Max(Float32s a, Float32s b) { return {Vec::Max(a.v, b.v)}; }
};

struct Bf16Outputs {
  static Float32s Bias(const WordLayer& layer, int channel) { return {Vec::Load(layer.real_bias + channel)}; }
  Bf16Outputs(const WordLayer& /*layer*/, int /*channel*/) {}

  void StoreX(Float32s total, int cells, uint8_t* out) const { Store(Mean(total, cells), out); }
  void StoreS(Float32s most, uint8_t* out) const { Store(Tanh(most.v), out); }
  void Feature(Float32s total, int cells, float* out) const { Mean(total, cells).Store(out); }

  static Vec Mean(Float32s total, int cells) {
    return total.v * Vec::Broadcast(1.0f / static_cast<float>(cells));
  }
  static void Store(Vec value, uint8_t* out) {
    const __m256bh rounded = _mm512_cvtneps_pbh(value.v);
    __builtin_memcpy(out, &rounded, sizeof(rounded));
  }
};

struct Isa {
  static constexpr int kElement = 2;
  static constexpr bool kWhole = false;
  static constexpr SumStageKernel kSumStage = SumStageAvx512;
  using Sums = Float32s;
  using Outputs = Bf16Outputs;
  using Weights = __m512bh;
  using Inputs = __m512bh;

  static Inputs Broadcast(const uint8_t* p) {
    int32_t word = 0;
    __builtin_memcpy(&word, p, sizeof(word));
    return (__m512bh)_mm512_set1_epi32(word);
  }
  static Weights Load(const uint32_t* p) { return (__m512bh)_mm512_loadu_si512(p); }
  template <bool kFirst>
  static Sums Dot(Sums sums, Inputs a, Weights b) {
    return {Vec{_mm512_dpbf16_ps(sums.v.v, a, b)}};
  }
  static void Renew(Weights* weights) { asm("" : "+v"(*weights)); }
  static uint16_t Picture(uint8_t byte) {  // exact: eight bits
    const float value = byte;
    uint32_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(bits));
    return static_cast<uint16_t>(bits >> 16);
  }
};

// 24 to 28 sums of the 32 registers.
struct Tuning {
  static constexpr int kPeakSums = 24;
  static constexpr int kFirstX = 2, kFirstS = 1, kFirstColumns = 4, kFirstRest = 4;
  static constexpr int kVectorsX = 2, kColumnsX = 6;
  static constexpr int kVectorsS = 1, kColumnsS = 14;
};

#include "cpu/dot_body.h"

}  // namespace

void RunBf16Avx512(const WordNetwork& network, const uint8_t* image, uint8_t* scratch, float* dots) {
  RunNetwork(network, image, scratch, dots);
}

int64_t MultiplyAddBf16Avx512(int64_t rounds, float* value) { return MultiplyAdd(rounds, value); }

}  // namespace ssr::cpu
