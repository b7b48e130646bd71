// The parts of ssr_ops._native, one function a source file.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "ssr/status.h"

namespace ssr {

void BindCut(pybind11::module_& m);
void BindDetector(pybind11::module_& m);
void BindEngine(pybind11::module_& m);
void BindRegression(pybind11::module_& m);

// Every fault of the core reaches Python as a ValueError with the status's message, which may hold a path of
// any bytes.
inline void RaiseIfError(const Status& status) {
  if (status.ok()) return;
  const std::string& message = status.message();
  const auto text = pybind11::reinterpret_steal<pybind11::object>(
      PyUnicode_DecodeFSDefaultAndSize(message.data(), static_cast<Py_ssize_t>(message.size())));
  if (text) PyErr_SetObject(PyExc_ValueError, text.ptr());
  throw pybind11::error_already_set();
}

}  // namespace ssr
