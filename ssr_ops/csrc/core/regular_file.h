// Regular files alone are opened: who fills a folder must not be able to hold up whoever reads it.
#pragma once

#include <cstdint>
#include <string>

#include "ssr/status.h"

namespace ssr {

// Opened for reading. A pipe, a socket, a device or a folder in its place, also behind a link, is refused,
// and never waited for. What is opened is what was checked.
class RegularFile {
 public:
  RegularFile() = default;
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;
  ~RegularFile();

  // kNotFound where nothing is. Messages begin with `path`.
  Status Open(const std::string& path);

  uint64_t size() const { return size_; }

  // The next bytes, fewer than `count` only at the end.
  Status Read(void* bytes, size_t count, size_t* read);

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

}  // namespace ssr
