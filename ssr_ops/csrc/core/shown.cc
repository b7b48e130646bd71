#include "core/shown.h"

namespace ssr {

using nlohmann::json;

std::string Cut(std::string text, size_t longest) {
  if (text.size() <= longest) return text;
  size_t end = longest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // inside a character
  return text.substr(0, end) + "... (" + std::to_string(text.size()) + " characters)";
}

std::string Shown(const json& value) {
  return Cut(value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace));
}

std::string ShownText(const std::string& text) {
  const std::string quoted = json(text).dump(-1, ' ', true, json::error_handler_t::replace);
  return Cut(quoted.substr(1, quoted.size() - 2));
}

}  // namespace ssr
