// GPU memory that a request brings or a response wants. Without CUDA in the build: kUnsupported.
#pragma once

#include <cstddef>

#include "ssr/status.h"

namespace ssr::triton {

// Whether this build has CUDA and this machine a GPU for it.
bool EngineRunsOnDevice();

Status CopyToHost(void* to, const void* from, size_t size);
Status CopyFromHost(void* to, const void* from, size_t size);

}  // namespace ssr::triton
