#include "cpu/prepared.h"

#include "cpu/network_pack.h"
#include "cpu/word_pack.h"

namespace ssr::cpu {
namespace {

class Floats final : public Prepared {
 public:
  Floats(const Model& model, Precision precision, NetworkKernel kernel)
      : packed_(model, precision), kernel_(kernel) {}

  void Run(const uint8_t* image, float* scratch, float* dots) const override {
    kernel_(packed_.weights(), image, scratch, dots);
  }
  int64_t scratch_bytes() const override {
    return packed_.scratch_floats() * static_cast<int64_t>(sizeof(float));
  }
  void Watch(LayerProbe* probe) override { packed_.Watch(probe); }

 private:
  PackedNetwork packed_;
  const NetworkKernel kernel_;
};

class InWords final : public Prepared {
 public:
  InWords(const Model& model, Words words, bool amx, WordKernel kernel)
      : packed_(model, words, amx), kernel_(kernel) {}

  void Run(const uint8_t* image, float* scratch, float* dots) const override {
    kernel_(packed_.network(), image, reinterpret_cast<uint8_t*>(scratch), dots);
  }
  int64_t scratch_bytes() const override { return packed_.scratch_bytes(); }
  void Watch(LayerProbe* probe) override { packed_.Watch(probe); }

 private:
  PackedWords packed_;
  const WordKernel kernel_;
};

struct WordImplementation {
  Precision precision;
  Isa isa;
  Words words;
  WordKernel kernel;
  MultiplyAddKernel multiply_add;
};

constexpr WordImplementation kWordImplementations[] = {
#ifdef SSR_AMX
    {Precision::kInt8, Isa::kAmx, Words::kBytes, RunInt8Amx, MultiplyAddInt8Amx},
    {Precision::kBf16, Isa::kAmx, Words::kBf16, RunBf16Amx, MultiplyAddBf16Amx},
#endif
#ifdef SSR_VNNI
    {Precision::kInt8, Isa::kAvx512Vnni, Words::kBytes, RunInt8Avx512Vnni, MultiplyAddInt8Avx512Vnni},
    {Precision::kInt8, Isa::kAvxVnni, Words::kBytes, RunInt8AvxVnni, MultiplyAddInt8AvxVnni},
#endif
#ifdef SSR_X86
    {Precision::kInt8, Isa::kAvx2, Words::kInt16, RunInt8Avx2, MultiplyAddInt8Avx2},
#endif
    {Precision::kInt8, Isa::kPortable, Words::kInt16, RunInt8Portable, MultiplyAddInt8Portable},
};

const WordImplementation* FindWords(Precision precision, Isa isa) {
  for (const WordImplementation& known : kWordImplementations) {
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
  if (const WordImplementation* found = FindWords(precision, isa)) {
    return std::make_unique<InWords>(model, found->words, isa == Isa::kAmx, found->kernel);
  }
  return std::make_unique<Floats>(model, precision, FloatKernel(isa));
}

MultiplyAddKernel MultiplyAddFor(Precision precision, Isa isa) {
  if (const WordImplementation* found = FindWords(precision, isa)) return found->multiply_add;
  switch (isa) {
#ifdef SSR_X86
    case Isa::kAvx512:
      return MultiplyAddAvx512;
    case Isa::kAvx2:
      return MultiplyAddAvx2;
#endif
    default:
      return MultiplyAddPortable;
  }
}

}  // namespace ssr::cpu
