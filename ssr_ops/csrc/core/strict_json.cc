#include "core/strict_json.h"

#include <set>
#include <vector>

#include "core/json_text.h"
#include "core/shown.h"

namespace ssr {

using nlohmann::json;

Status ParseJson(std::string_view text, json* value) {
  const auto bad = [](const std::string& what) { return Status(Code::kInvalidArgument, what); };
  if (NestsTooDeep(text)) return bad("nested more than " + std::to_string(kMaxJsonDepth) + " deep");
  if (text.substr(0, 3) == "\xEF\xBB\xBF") return bad("not JSON: it begins with a byte order mark");
  if (text.find('\0') != std::string_view::npos) return bad("not JSON: a NUL in it");
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string twice;
  const auto watch = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second &&
        twice.empty()) {
      twice = "the key " + Shown(parsed) + " stands twice in one object";
    }
    return true;
  };
  *value = json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (value->is_discarded()) return bad("not JSON, or with a value that cannot be represented");
  return twice.empty() ? Status() : bad(twice);
}

}  // namespace ssr
