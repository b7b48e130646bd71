// Failure on its way to the server: owned errors, the core's status as one, exceptions stopped.
#pragma once

#include <exception>
#include <memory>
#include <new>
#include <string>

#include "ssr/status.h"
#include "triton/triton_api.h"

namespace ssr::triton {

struct ErrorDeleter {
  void operator()(TRITONSERVER_Error* error) const { TRITONSERVER_ErrorDelete(error); }
};
// Null is success.
using Error = std::unique_ptr<TRITONSERVER_Error, ErrorDeleter>;

inline Error MakeError(TRITONSERVER_Error_Code code, const std::string& message) {
  return Error(TRITONSERVER_ErrorNew(code, message.c_str()));
}

// The core's status; `where` is put before its message.
Error MakeError(const Status& status, const std::string& where = "");

void Log(TRITONSERVER_LogLevel level, const std::string& message);

// For calls whose failure nobody waits for: logs it.
void LogIfError(TRITONSERVER_Error* error, const char* what);

// Runs `body`, which returns an Error; an exception becomes an INTERNAL one.
template <typename Body>
Error Guard(Body&& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Error(TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "out of memory"));
  } catch (const std::exception& error) {
    return Error(TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, error.what()));
  } catch (...) {
    return Error(TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "unknown exception"));
  }
}

}  // namespace ssr::triton

#define SSR_RETURN_IF_TRITON_ERROR(call)     \
  do {                                       \
    ::ssr::triton::Error ssr_error_((call)); \
    if (ssr_error_) return ssr_error_;       \
  } while (false)
