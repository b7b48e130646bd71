#include "cpu/prepared.h"

#include <algorithm>

#include "core/pack.h"
#include "cpu/quantized_pack.h"

namespace ssr::cpu {
namespace {

// A layer's work, the maps, and three times the most features that a stage has.
int64_t ScratchFloats(const NetworkWeights& network) {
  int64_t floats = kWorkFloats, most = 0;
  for (const int size : kMapSizes) floats += int64_t{size} * size * (network.width_x + network.width_s);
  for (int k = 0; k < network.num_stages; ++k) {
    const int side = network.stages[k].side;
    most = std::max(most, int64_t{side} * side * network.width_fusion);
  }
  return floats + 3 * most;
}

// What runs a network of packed float32 weights, in fp32 or with bf16's.
class Floats final : public Prepared {
 public:
  Floats(const Model& model, Precision precision, NetworkKernel kernel)
      : packed_(model, precision), kernel_(kernel) {}

  void Run(const uint8_t* image, float* scratch, float* dots) const override {
    kernel_(packed_.weights(), image, scratch, dots);
  }
  int64_t scratch_bytes() const override {
    return ScratchFloats(packed_.weights()) * static_cast<int64_t>(sizeof(float));
  }

 private:
  PackedNetwork packed_;
  const NetworkKernel kernel_;
};

class Quantized final : public Prepared {
 public:
  Quantized(const Model& model, Words words, bool amx, QuantizedKernel kernel)
      : packed_(model, words, amx), kernel_(kernel) {}

  void Run(const uint8_t* image, float* scratch, float* dots) const override {
    kernel_(packed_.network(), image, reinterpret_cast<uint8_t*>(scratch), dots);
  }
  int64_t scratch_bytes() const override { return packed_.scratch_bytes(); }

 private:
  PackedQuantized packed_;
  const QuantizedKernel kernel_;
};

}  // namespace

std::unique_ptr<Prepared> Prepare(const Model& model, Precision precision, Isa isa) {
  const auto floats = [&](NetworkKernel kernel) {
    return std::make_unique<Floats>(model, precision, kernel);
  };
  const auto quantized = [&](Words words, QuantizedKernel kernel) {
    return std::make_unique<Quantized>(model, words, isa == Isa::kAmx, kernel);
  };
  const bool int8 = precision == Precision::kInt8;
  switch (isa) {
#ifdef SSR_AMX
    case Isa::kAmx:
      return int8 ? quantized(Words::kBytes, RunInt8Amx) : quantized(Words::kBf16, RunBf16Amx);
#endif
#ifdef SSR_VNNI
    case Isa::kAvx512Vnni:
      return quantized(Words::kBytes, RunInt8Avx512Vnni);
    case Isa::kAvxVnni:
      return quantized(Words::kBytes, RunInt8AvxVnni);
#endif
#ifdef SSR_X86
    case Isa::kAvx512:
      return floats(RunNetworkAvx512);
    case Isa::kAvx2:
      if (int8) return quantized(Words::kInt16, RunInt8Avx2);
      return floats(RunNetworkAvx2);
#endif
    default:
      if (int8) return quantized(Words::kInt16, RunInt8Portable);
      return floats(RunNetworkPortable);
  }
}

}  // namespace ssr::cpu
