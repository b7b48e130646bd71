// Named implementations: which instruction sets this build carries and this CPU runs, a precision.
#pragma once

#include <string>
#include <vector>

#include "ssr/status.h"

namespace ssr {

// The arithmetic of the convolutions; what follows them is float32 in all (see core/quantize.h).
enum class Precision { kFp32, kBf16, kInt8 };

const char* PrecisionName(Precision precision);

// kInvalidArgument listing the names that work.
Status ParsePrecision(const std::string& name, Precision* precision);

enum class Isa { kPortable, kAvx2, kAvxVnni, kAvx512, kAvx512Vnni, kAmx };

const char* IsaName(Isa isa);

// What runs `precision` on this machine, best first; never empty.
std::vector<Isa> SupportedIsas(Precision precision = Precision::kFp32);

// The instruction set to run: `forced` if not empty, else SSR_FORCE_IMPLEMENTATION if set, else the
// best supported. An unknown or unsupported name is kInvalidArgument and lists the names that work.
Status ChooseIsa(const std::string& forced, Isa* isa, Precision precision = Precision::kFp32);

}  // namespace ssr
