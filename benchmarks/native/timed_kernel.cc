// One of the CPU's kernels, SSR_KERNEL, that tells when a layer is done; and its multiply-adds alone,
// SSR_SUMS independent sums at a time: what the instruction set can do at best on this core.
#include <cstdint>

namespace ssr {
void LayerDone();  // layer_times.cc
}  // namespace ssr
#define SSR_LAYER_DONE() ::ssr::LayerDone()
#include SSR_KERNEL

#define SSR_UNROLL _Pragma("GCC unroll 32")
#define SSR_ROLLED _Pragma("GCC unroll 1")

namespace ssr::cpu {

// Each loop: see MultiplyAddKernel in multiply_adds.cc.
#if defined(SSR_FLOAT_LOOP)
int64_t SSR_LOOP(int64_t rounds, float* value) {
  Vec sums[SSR_SUMS];
  const Vec factor = Vec::Broadcast(0.5f), term = Vec::Broadcast(*value);
  SSR_UNROLL for (int i = 0; i < SSR_SUMS; ++i) sums[i] = Vec::Broadcast(*value + i);
  SSR_ROLLED for (int64_t round = 0; round < rounds; ++round) {
    SSR_UNROLL for (int i = 0; i < SSR_SUMS; ++i) sums[i] = Vec::Fma(sums[i], factor, term);
  }
  for (int i = 1; i < SSR_SUMS; ++i) sums[0] = sums[0] + sums[i];
  *value = SumLanes(sums[0]);
  return rounds * SSR_SUMS * Vec::kLanes;
}

#elif defined(SSR_WORD_LOOP)
// The same weights, unknown to the compiler, which else takes equal products once.
inline void Renew(Isa::Weights* weights) {
#if defined(__AVX512F__)
  asm("" : "+v"(*weights));
#elif defined(__AVX2__)
  asm("" : "+x"(*weights));
#else
  asm("" : "+m"(*weights));
#endif
}

int64_t SSR_LOOP(int64_t rounds, float* value) {
  uint32_t bits[kLine];
  for (int i = 0; i < kLine; ++i) bits[i] = static_cast<uint32_t>(*value) + static_cast<uint32_t>(i);
  const Isa::Inputs in = Isa::Broadcast(reinterpret_cast<const uint8_t*>(bits));
  Isa::Weights weights = Isa::Load(bits);
  Sums sums[SSR_SUMS];
  SSR_UNROLL for (int i = 0; i < SSR_SUMS; ++i) sums[i] = Sums::Zero();
  SSR_ROLLED for (int64_t round = 0; round < rounds; ++round) {
    SSR_UNROLL for (int i = 0; i < SSR_SUMS; ++i) {
      Renew(&weights);
      sums[i] = Isa::Dot<false>(sums[i], in, weights);
    }
  }
  Sums most = sums[0];
  SSR_UNROLL for (int i = 1; i < SSR_SUMS; ++i) most = Max(most, sums[i]);
  uint8_t lanes[sizeof(Sums)];
  __builtin_memcpy(lanes, &most, sizeof(most));
  *value = lanes[0];
  return rounds * SSR_SUMS * kLanes * (4 / Isa::kElement);
}

#elif defined(SSR_TILE_LOOP)
// A sum's latency is 52 cycles, an instruction takes 16: four sums hide it.
template <typename A>
int64_t MultiplyAdd(int64_t rounds, float* value) {
  alignas(64) static const uint8_t zeros[kTile] = {};
  alignas(64) uint8_t sums[kTile];
  rounds /= 64;
  Configure(16, kLineWords);
  Load<4>(zeros, kLine);
  Load<6>(zeros, kLine);
  Zero<0>();
  Zero<1>();
  Zero<2>();
  Zero<3>();
  for (int64_t round = 0; round < rounds; ++round) {
    A::template Multiply<0, 4, 6>();
    A::template Multiply<1, 4, 6>();
    A::template Multiply<2, 4, 6>();
    A::template Multiply<3, 4, 6>();
  }
  Store<0>(sums);
  Release();
  *value += static_cast<float>(sums[0] & 1);
  return rounds * SSR_SUMS * 16 * 16 * kLineWords * (4 / A::kElement);
}

int64_t MultiplyAddInt8Amx(int64_t rounds, float* value) { return MultiplyAdd<Int8>(rounds, value); }
int64_t MultiplyAddBf16Amx(int64_t rounds, float* value) { return MultiplyAdd<Bf16>(rounds, value); }
#endif

}  // namespace ssr::cpu
