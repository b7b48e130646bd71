// Request parameters that nearly have the name of one of ours.
#pragma once

#include <string_view>

#include "triton/error.h"

namespace ssr::triton {

// An error if `key` is no parameter of ours but one with a slip: in another case, or with a letter or two
// wrong. It would be ignored, and the request answered as if nothing had been asked for. Other names belong
// to others: a server can hand headers on as parameters.
Error CheckSpelling(std::string_view key);

}  // namespace ssr::triton
