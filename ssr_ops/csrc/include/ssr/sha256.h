// SHA-256 (FIPS 180-4), for checking a bundle's files against its contract.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ssr {

// The hash of what comes in pieces.
class Sha256 {
 public:
  void Update(const void* data, size_t size);
  // 64 lower-case hexadecimal digits. Nothing may follow.
  std::string Hex();

 private:
  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t open_[64];  // the block that is not full yet
  uint64_t size_ = 0;
};

// 64 lower-case hexadecimal digits.
std::string Sha256Hex(const void* data, size_t size);

}  // namespace ssr
