// Values of strangers as an error message may show them, as ssr_bundle/shown.py does.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace ssr {

// Characters of a value that a message repeats.
constexpr size_t kLongestShown = 160;

// `text`, or where it is too long its first `longest` bytes, no character halved, and how many it has.
std::string Cut(std::string text, size_t longest = kLongestShown);

// A value for a message: JSON in ASCII, control characters escaped, cut.
std::string Shown(const nlohmann::json& value);

// A text of a stranger for a message, as Shown but without the quotation marks.
std::string ShownText(const std::string& text);

}  // namespace ssr
