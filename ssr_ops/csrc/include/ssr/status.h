// The core's only way to report failure: it never prints, aborts or throws across its boundary.
#pragma once

#include <string>
#include <utility>

namespace ssr {

enum class Code { kOk, kInvalidArgument, kNotFound, kUnsupported, kUnavailable, kInternal };

class Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  // One sentence for the person at the keyboard: what was wrong and what was expected.
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

}  // namespace ssr

#define SSR_RETURN_IF_ERROR(expression)        \
  do {                                         \
    ::ssr::Status ssr_status_ = (expression);  \
    if (!ssr_status_.ok()) return ssr_status_; \
  } while (false)
