// Named implementations: which instruction sets this build carries and this CPU runs.
#pragma once

#include <string>
#include <vector>

#include "ssr/status.h"

namespace ssr {

enum class Isa { kPortable, kAvx2, kAvx512 };

const char* IsaName(Isa isa);

// Supported on this machine, best first; never empty.
std::vector<Isa> SupportedIsas();

// The instruction set to run: `forced` if not empty, else SSR_FORCE_IMPLEMENTATION if set, else the
// best supported. An unknown or unsupported name is kInvalidArgument and lists the names that work.
Status ChooseIsa(const std::string& forced, Isa* isa);

}  // namespace ssr
