#include "ssr/implementation.h"

#include <cstdlib>

#ifdef SSR_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ssr {
namespace {

#ifdef SSR_X86
bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

#if defined(SSR_VNNI) || defined(SSR_AMX)
// Compilers name these features at different times; the processor always the same way (leaf 7).
struct Leaf7 {
  unsigned ecx0 = 0, edx0 = 0, eax1 = 0;
  Leaf7() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0, most = 0;
    Ask(0, 0, &most, &ebx, &ecx, &edx);
    if (most < 7) return;
    Ask(7, 0, &eax, &ebx, &ecx0, &edx0);
    if (eax >= 1) Ask(7, 1, &eax1, &ebx, &ecx, &edx);
  }
  static void Ask(unsigned leaf, unsigned part, unsigned* a, unsigned* b, unsigned* c, unsigned* d) {
    asm volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(part));
  }
};

[[maybe_unused]] bool HasAvxVnni() { return HasAvx2() && (Leaf7().eax1 >> 4 & 1) != 0; }
[[maybe_unused]] bool HasAvx512Vnni() { return HasAvx512() && (Leaf7().ecx0 >> 11 & 1) != 0; }
bool HasAvx512Bf16() { return HasAvx512() && (Leaf7().eax1 >> 5 & 1) != 0; }
#endif

#ifdef SSR_AMX
// Tiles take the kernel's leave, once a process: Linux switches their 8 KB only for those who asked.
bool HasAmx() {
  static const bool granted = [] {
    constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25, kAll = kBf16 | kTile | kInt8;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
    return HasAvx512Bf16() && (Leaf7().edx0 & kAll) == kAll &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return granted;
}
#endif

}  // namespace

const char* PrecisionName(Precision precision) {
  constexpr const char* kNames[] = {"fp32", "bf16", "int8"};
  return kNames[static_cast<int>(precision)];
}

Status ParsePrecision(const std::string& name, Precision* precision) {
  for (const Precision known : {Precision::kFp32, Precision::kBf16, Precision::kInt8}) {
    if (name == PrecisionName(known)) {
      *precision = known;
      return {};
    }
  }
  return {Code::kInvalidArgument, "precision '" + name + "' is unknown, expected fp32, bf16 or int8"};
}

const char* IsaName(Isa isa) {
  constexpr const char* kNames[] = {"portable", "avx2", "avxvnni", "avx512", "avx512vnni", "amx"};
  return kNames[static_cast<int>(isa)];
}

std::vector<Isa> SupportedIsas(Precision precision) {
  std::vector<Isa> isas;
  [[maybe_unused]] const auto add = [&](bool runs, Isa isa) {
    if (runs) isas.push_back(isa);
  };
#ifdef SSR_X86
  __builtin_cpu_init();
#endif
#ifdef SSR_AMX
  add(precision != Precision::kFp32 && HasAmx(), Isa::kAmx);
#endif
#ifdef SSR_VNNI
  add(precision == Precision::kInt8 && HasAvx512Vnni(), Isa::kAvx512Vnni);
  add(precision == Precision::kInt8 && HasAvxVnni(), Isa::kAvxVnni);
#endif
#ifdef SSR_X86
  add(precision != Precision::kInt8 && HasAvx512(), Isa::kAvx512);
  add(HasAvx2(), Isa::kAvx2);
#endif
  isas.push_back(Isa::kPortable);
  return isas;
}

Status ChooseIsa(const std::string& forced, Isa* isa, Precision precision) {
  constexpr const char* kVariable = "SSR_FORCE_IMPLEMENTATION";
  std::string name = forced, asked_by;
  if (name.empty()) {
    const char* variable = std::getenv(kVariable);
    if (variable != nullptr) name = variable, asked_by = std::string(kVariable) + ": ";
  }
  const std::vector<Isa> supported = SupportedIsas(precision);
  if (name.empty()) {
    *isa = supported.front();
    return {};
  }
  std::string names;
  for (const Isa candidate : supported) {
    if (name == IsaName(candidate)) {
      *isa = candidate;
      return {};
    }
    names += (names.empty() ? "" : ", ") + std::string(IsaName(candidate));
  }
  const std::string where =
      precision == Precision::kFp32 ? "" : std::string(" in ") + PrecisionName(precision);
  return {Code::kInvalidArgument, asked_by + "implementation '" + name + "' is not available here" + where +
                                      ", expected one of " + names};
}

}  // namespace ssr
