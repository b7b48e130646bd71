// The values of a contract.json, read field by field: what the readers of every kind of bundle share.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace ssr {

// What the files of a bundle may have together: no file is read that could not be a bundle's.
constexpr int64_t kMaxFilesBytes = int64_t{1} << 30;

struct FileEntry {
  std::string sha256;
  uint64_t bytes;
};

// What is wrong: thrown by all that reads a contract, a status to whoever calls a parser of one.
struct Fault {
  std::string what;
};

[[noreturn]] inline void Bad(const std::string& what) { throw Fault{what}; }

// A value and where it stands, so that every message can name the place.
struct Node {
  const nlohmann::json& value;
  std::string where;  // of the contract itself: empty

  Node operator[](const std::string& key) const;
  [[noreturn]] void Expected(const std::string& what) const;
  double Number() const;
  std::vector<double> Numbers() const;
  int Integer(int low, int high) const;
  const std::string& String() const;
  // To the type: neither true nor 1.0 is 1.
  void Exactly(const nlohmann::json& expected) const;
  const std::string& Choice(const std::vector<std::string>& choices) const;
  // An object with no keys but these.
  void Only(const std::vector<std::string>& names) const;
};

// A letter or (if `digit_first`) a digit, then letters, digits and characters of `more`; at most 64.
bool IsName(const std::string& name, bool digit_first, const char* more);

// A bundle's name, which can name a model.
const std::string& ModelName(const Node& node);

bool IsHexadecimal(const std::string& text, size_t digits);

// The files that a contract lists.
std::map<std::string, FileEntry> ParseFiles(const Node& node);

// Free text for readers, but for what commands read: each of those has its type, or is null. Returns whether
// the weights learned from drawn faces.
bool ParseProvenance(const Node& node);

// Whether converting `value` to T gives a finite number.
template <typename T>
bool Representable(double value) {
  return std::isfinite(value) && std::fabs(value) <= std::numeric_limits<T>::max();
}

// A number for a message.
std::string NumberText(double value);

}  // namespace ssr
