// SHA-256 (FIPS 180-4), for checking a bundle's files against its contract.
#pragma once

#include <cstddef>
#include <string>

namespace ssr {

// 64 lower-case hexadecimal digits.
std::string Sha256Hex(const void* data, size_t size);

}  // namespace ssr
