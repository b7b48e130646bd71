// The operator's CPU kernels, one function per implementation; arguments are validated by the caller.
#pragma once

#include "ssr/params.h"

namespace ssr::cpu {

template <class Params>
void RegressPortable(const Params& params);

// Stages (3, 3, 3) only.
template <class Params>
void RegressAvx2(const Params& params);
template <class Params>
void RegressAvx512(const Params& params);

}  // namespace ssr::cpu
