// JSON that every parser reads alike; ssr_bundle/strict_json.py refuses the same.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "ssr/status.h"

namespace ssr {

// Refuses, beyond what is not JSON: a byte order mark, a NUL (where the parser would stop reading), brackets
// nested too deep, and a key that stands twice in one object. Messages name no file.
Status ParseJson(std::string_view text, nlohmann::json* value);

// Characters of a value that a message repeats.
constexpr size_t kLongestShown = 160;

// `text`, or where it is too long its first `longest` bytes, no character halved, and how many it has.
std::string Cut(std::string text, size_t longest = kLongestShown);

// A value for a message: JSON in ASCII, control characters escaped, cut.
std::string Shown(const nlohmann::json& value);

// A text of a stranger for a message, as Shown but without the quotation marks.
std::string ShownText(const std::string& text);

}  // namespace ssr
