// JSON whose text counts: what an interface is hashed as, and how its numbers are written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace ssr {

// JSON with sorted keys and no spaces, as ssr_bundle.contract.canonical_json.
std::string Canonical(const nlohmann::json& value);

// The text of the value of `key`. text: valid JSON, an object, no key twice.
std::string_view MemberText(std::string_view text, const char* key);

// The same JSON with every number as a string, so that its digits are kept. text: valid JSON.
nlohmann::json WithNumbersQuoted(std::string_view text);

}  // namespace ssr
