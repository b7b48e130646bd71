// JSON as text: what is looked at before it is parsed, and what parsing forgets.
#pragma once

#include <algorithm>
#include <string_view>

namespace ssr {

// Brackets may nest this deep: what walks JSON recurses, and a hostile file must not end the process.
constexpr int kMaxJsonDepth = 32;

inline bool IsJsonNumber(char first) { return first == '-' || (first >= '0' && first <= '9'); }

// Where the string, the number or else the single character that stands at `begin` ends. Any text will do.
inline size_t JsonTokenEnd(std::string_view text, size_t begin) {
  size_t end = begin + 1;
  if (text[begin] == '"') {
    while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
    ++end;
  } else if (IsJsonNumber(text[begin])) {
    end = text.find_first_not_of("+-.eE0123456789", end);
  }
  return std::min(end, text.size());
}

// How many brackets deeper it is behind `c`, which begins a token.
inline int JsonDeeper(char c) { return (c == '[' || c == '{') - (c == ']' || c == '}'); }

inline bool NestsTooDeep(std::string_view text) {
  int depth = 0;
  for (size_t at = 0; at < text.size() && depth <= kMaxJsonDepth; at = JsonTokenEnd(text, at)) {
    depth += JsonDeeper(text[at]);
  }
  return depth > kMaxJsonDepth;
}

}  // namespace ssr
