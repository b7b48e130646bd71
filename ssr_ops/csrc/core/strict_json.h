// JSON that every parser reads alike; ssr_bundle/strict_json.py refuses the same.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "ssr/status.h"

namespace ssr {

// Refuses, beyond what is not JSON: a byte order mark, a NUL (where the parser would stop reading), brackets
// nested too deep, and a key that stands twice in one object. Messages name no file.
Status ParseJson(std::string_view text, nlohmann::json* value);

}  // namespace ssr
