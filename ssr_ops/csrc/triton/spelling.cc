#include "triton/spelling.h"

#include <algorithm>
#include <array>
#include <string>

#include "triton/request.h"

namespace ssr::triton {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"format", "interface_sha256", "matrix",
                                                    "range",  "scales",           "threshold"};
constexpr size_t kLongest = 24, kLettersASlip = 4;  // one slip for every four letters

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c == '-' ? '_' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

// Letters to insert, remove or change, of texts of at most kLongest.
size_t Slips(std::string_view a, std::string_view b) {
  std::array<size_t, kLongest + 1> row{};
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row[b.size()];
}

}  // namespace

Error CheckSpelling(std::string_view key) {
  if (key.empty() || key.size() > kLongest) return nullptr;
  const std::string lower = Lower(key);
  for (const std::string_view name : kNames) {
    if (key == name) return nullptr;
    if (Slips(lower, name) <= name.size() / kLettersASlip) {
      return Invalid("request parameter '" + std::string(key) + "' is unknown, expected " +
                     std::string(name));
    }
  }
  return nullptr;
}

}  // namespace ssr::triton
