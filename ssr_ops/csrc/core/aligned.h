// Zero-filled float arrays on a cache line's border.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace ssr {

constexpr std::align_val_t kCacheLine{64};

struct AlignedDelete {
  void operator()(float* p) const { ::operator delete[](p, kCacheLine); }
};

using AlignedFloats = std::unique_ptr<float[], AlignedDelete>;

inline AlignedFloats MakeAligned(int64_t count) {
  const size_t bytes = static_cast<size_t>(count > 0 ? count : 1) * sizeof(float);
  AlignedFloats floats(static_cast<float*>(::operator new[](bytes, kCacheLine)));
  std::memset(floats.get(), 0, bytes);
  return floats;
}

}  // namespace ssr
