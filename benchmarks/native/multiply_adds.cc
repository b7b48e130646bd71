// The rate of each implementation's loop of multiply-adds (timed_kernel.cc).
#include <chrono>

#include "timers.h"

namespace ssr {
namespace cpu {

// Independent multiply-adds and nothing else. Returns how many were done; *value goes in and out so that none
// can be left out.
using MultiplyAddKernel = int64_t (*)(int64_t rounds, float* value);

int64_t MultiplyAddPortable(int64_t rounds, float* value);
int64_t MultiplyAddAvx2(int64_t rounds, float* value);
int64_t MultiplyAddAvx512(int64_t rounds, float* value);
int64_t MultiplyAddInt8Portable(int64_t rounds, float* value);
int64_t MultiplyAddInt8Avx2(int64_t rounds, float* value);
int64_t MultiplyAddInt8AvxVnni(int64_t rounds, float* value);
int64_t MultiplyAddInt8Avx512Vnni(int64_t rounds, float* value);
int64_t MultiplyAddInt8Amx(int64_t rounds, float* value);
int64_t MultiplyAddBf16Amx(int64_t rounds, float* value);

namespace {

// isa: one of SupportedIsas(precision).
MultiplyAddKernel MultiplyAddFor(Precision precision, Isa isa) {
  [[maybe_unused]] const bool int8 = precision == Precision::kInt8;
  switch (isa) {
#ifdef SSR_AMX
    case Isa::kAmx:
      return int8 ? MultiplyAddInt8Amx : MultiplyAddBf16Amx;
#endif
#ifdef SSR_VNNI
    case Isa::kAvx512Vnni:
      return MultiplyAddInt8Avx512Vnni;
    case Isa::kAvxVnni:
      return MultiplyAddInt8AvxVnni;
#endif
#ifdef SSR_X86
    case Isa::kAvx512:
      return MultiplyAddAvx512;
    case Isa::kAvx2:
      return int8 ? MultiplyAddInt8Avx2 : MultiplyAddAvx2;
#endif
    default:
      return int8 ? MultiplyAddInt8Portable : MultiplyAddPortable;
  }
}

}  // namespace
}  // namespace cpu

Status MeasureMultiplyAdds(const std::string& implementation, const std::string& precision_name,
                           double seconds, double* rate) {
  using Clock = std::chrono::steady_clock;
  Precision precision = Precision::kFp32;
  SSR_RETURN_IF_ERROR(ParsePrecision(precision_name, &precision));
  Isa isa = Isa::kPortable;
  SSR_RETURN_IF_ERROR(ChooseIsa(implementation, &isa, precision));
  const cpu::MultiplyAddKernel kernel = cpu::MultiplyAddFor(precision, isa);
  volatile float start = 1;
  float value = start;
  double spent = 0, done = 0;
  while (spent < seconds) {
    const auto begin = Clock::now();
    done += static_cast<double>(kernel(1 << 18, &value));
    spent += std::chrono::duration<double>(Clock::now() - begin).count();
  }
  *rate = spent > 0 ? done / spent : 0;
  start = value;
  return {};
}

}  // namespace ssr
