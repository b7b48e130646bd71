#include "core/canonical_json.h"

#include <charconv>
#include <cmath>

#include "core/json_text.h"

namespace ssr {

using nlohmann::json;

namespace {

// A float as Python's json writes it: the fewest digits that read back as the same number.
std::string FloatText(double value) {
  const double size = std::fabs(value);
  const bool fixed = size == 0 || (size >= 1e-4 && size < 1e16);
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value,
                                 fixed ? std::chars_format::fixed : std::chars_format::scientific);
  const std::string text(buffer, end.ptr);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

}  // namespace

std::string_view MemberText(std::string_view text, const char* key) {
  std::string_view token;
  bool inside = false;
  int depth = 0;
  size_t begin = 0;
  for (size_t at = 0, end = 0; at < text.size(); at = end) {
    end = JsonTokenEnd(text, at);
    if (depth == 1 && text[at] == '"') token = text.substr(at, end - at);
    if (depth == 1 && text[at] == ':') inside = json::parse(token) == key, begin = end;
    if (depth == 1 && inside && (text[at] == ',' || text[at] == '}')) return text.substr(begin, at - begin);
    depth += JsonDeeper(text[at]);
  }
  return {};
}

json WithNumbersQuoted(std::string_view text) {
  std::string quoted;
  for (size_t at = 0, end = 0; at < text.size(); at = end) {
    end = JsonTokenEnd(text, at);
    const char* const quote = IsJsonNumber(text[at]) ? "\"" : "";
    quoted.append(quote).append(text.substr(at, end - at)).append(quote);
  }
  return json::parse(quoted);
}

std::string Canonical(const json& value) {
  if (value.is_number_float()) return FloatText(value.get<double>());
  if (!value.is_structured()) return value.dump();
  const bool object = value.is_object();
  std::string items;
  for (const auto& [key, item] : value.items()) {
    items += (items.empty() ? "" : ",") + (object ? json(key).dump() + ":" : "") + Canonical(item);
  }
  return (object ? "{" : "[") + items + (object ? "}" : "]");
}

}  // namespace ssr
