// The parts of ssr_ops._native, one function a source file.
#pragma once

#include <pybind11/pybind11.h>

#include "ssr/status.h"

namespace ssr {

void BindEngine(pybind11::module_& m);
void BindRegression(pybind11::module_& m);

// Every fault of the core reaches Python as a ValueError with the status's message.
inline void RaiseIfError(const Status& status) {
  if (!status.ok()) throw pybind11::value_error(status.message());
}

}  // namespace ssr
