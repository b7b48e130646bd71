#include "triton/error.h"

namespace ssr::triton {
namespace {

TRITONSERVER_Error_Code ToTriton(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return TRITONSERVER_ERROR_INVALID_ARG;
    case Code::kNotFound:
      return TRITONSERVER_ERROR_NOT_FOUND;
    case Code::kUnsupported:
      return TRITONSERVER_ERROR_UNSUPPORTED;
    case Code::kUnavailable:
      return TRITONSERVER_ERROR_UNAVAILABLE;
    case Code::kOk:
    case Code::kInternal:
      break;
  }
  return TRITONSERVER_ERROR_INTERNAL;
}

}  // namespace

Error MakeError(const Status& status, const std::string& where) {
  if (status.ok()) return nullptr;
  return MakeError(ToTriton(status.code()), where + status.message());
}

void Log(TRITONSERVER_LogLevel level, const std::string& message) {
  Error(TRITONSERVER_LogMessage(level, "ssr", 0, message.c_str()));
}

void LogIfError(TRITONSERVER_Error* error, const char* what) {
  const Error owned(error);
  if (owned == nullptr) return;
  Error(TRITONSERVER_LogMessage(TRITONSERVER_LOG_ERROR, what, 0, TRITONSERVER_ErrorMessage(error)));
}

}  // namespace ssr::triton
