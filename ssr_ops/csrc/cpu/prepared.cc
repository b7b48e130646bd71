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

struct QuantizedImplementation {
  Precision precision;
  Isa isa;
  Words words;
  QuantizedKernel kernel;
};

constexpr QuantizedImplementation kQuantizedImplementations[] = {
#ifdef SSR_AMX
    {Precision::kInt8, Isa::kAmx, Words::kBytes, RunInt8Amx},
    {Precision::kBf16, Isa::kAmx, Words::kBf16, RunBf16Amx},
#endif
#ifdef SSR_VNNI
    {Precision::kInt8, Isa::kAvx512Vnni, Words::kBytes, RunInt8Avx512Vnni},
    {Precision::kInt8, Isa::kAvxVnni, Words::kBytes, RunInt8AvxVnni},
#endif
#ifdef SSR_X86
    {Precision::kInt8, Isa::kAvx2, Words::kInt16, RunInt8Avx2},
#endif
    {Precision::kInt8, Isa::kPortable, Words::kInt16, RunInt8Portable},
};

const QuantizedImplementation* FindQuantized(Precision precision, Isa isa) {
  for (const QuantizedImplementation& known : kQuantizedImplementations) {
    if (known.precision == precision && known.isa == isa) return &known;
  }
  return nullptr;
}

NetworkKernel FloatKernel(Isa isa) {
  switch (isa) {
#ifdef SSR_X86
    case Isa::kAvx512:
      return RunNetworkAvx512;
    case Isa::kAvx2:
      return RunNetworkAvx2;
#endif
    default:
      return RunNetworkPortable;
  }
}

}  // namespace

std::unique_ptr<Prepared> Prepare(const Model& model, Precision precision, Isa isa) {
  if (const QuantizedImplementation* found = FindQuantized(precision, isa)) {
    return std::make_unique<Quantized>(model, found->words, isa == Isa::kAmx, found->kernel);
  }
  return std::make_unique<Floats>(model, precision, FloatKernel(isa));
}

}  // namespace ssr::cpu
