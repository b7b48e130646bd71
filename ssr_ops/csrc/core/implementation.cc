#include "ssr/implementation.h"

#include <cstdlib>

namespace ssr {

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kPortable:
      return "portable";
  }
  return "unknown";
}

std::vector<Isa> SupportedIsas() {
  std::vector<Isa> isas;
#ifdef SSR_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    isas.push_back(Isa::kAvx512);
  }
  if (avx2) isas.push_back(Isa::kAvx2);
#endif
  isas.push_back(Isa::kPortable);
  return isas;
}

Status ChooseIsa(const std::string& forced, Isa* isa) {
  std::string name = forced;
  if (name.empty()) {
    const char* variable = std::getenv("SSR_FORCE_IMPLEMENTATION");
    if (variable != nullptr) name = variable;
  }
  const std::vector<Isa> supported = SupportedIsas();
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
  return {Code::kInvalidArgument,
          "implementation '" + name + "' is not available here, expected one of " + names};
}

}  // namespace ssr
