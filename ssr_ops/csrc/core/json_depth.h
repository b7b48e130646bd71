// How deep JSON nests, looked at before it is parsed.
#pragma once

#include <string_view>

namespace ssr {

// Brackets may nest this deep: what walks JSON recurses, and a hostile file must not end the process.
constexpr int kMaxJsonDepth = 32;

inline bool NestsTooDeep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace ssr
