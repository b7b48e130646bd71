// Memory that ends at, or begins after, a page that faults. A program that includes this has the core's
// aligned arrays in such memory as well.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <new>

#include "core_testing.h"

namespace {

size_t PageSize() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

size_t RoundUp(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

// Pages for `bytes` between two that fault; null if there is no memory.
uint8_t* MapGuarded(size_t bytes, size_t* mapped) {
  const size_t page = PageSize();
  *mapped = RoundUp(bytes > 0 ? bytes : 1, page);
  void* all = mmap(nullptr, *mapped + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  uint8_t* begin = static_cast<uint8_t*>(all) + page;
  if (mprotect(begin, *mapped, PROT_READ | PROT_WRITE) != 0) return nullptr;
  return begin;
}

void Unmap(uint8_t* begin, size_t mapped) { munmap(begin - PageSize(), mapped + 2 * PageSize()); }

// `bytes` that end `gap` before a faulting page, or begin `gap` after one.
class Guarded {
 public:
  enum class At { kBegin, kEnd };

  Guarded(size_t bytes, At at, size_t gap = 0) : begin_(MapGuarded(bytes + gap, &mapped_)) {
    CHECK(begin_ != nullptr);
    data_ = at == At::kBegin ? begin_ + gap : begin_ + mapped_ - bytes - gap;
  }
  Guarded(const void* from, size_t bytes, At at, size_t gap = 0) : Guarded(bytes, at, gap) {
    std::memcpy(data_, from, bytes);
    CHECK(mprotect(begin_, mapped_, PROT_READ) == 0);
  }
  ~Guarded() { Unmap(begin_, mapped_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  uint8_t* data() const { return data_; }

 private:
  size_t mapped_ = 0;
  uint8_t *begin_, *data_;
};

int guarded_blocks = 0;

}  // namespace

// The core's aligned arrays (core/aligned.h) end at a faulting page, up to their size's rounding to the
// alignment; the byte pattern makes an answer that depends on what was never written differ from run to run.
void* operator new[](size_t size, std::align_val_t alignment) {
  const size_t page = PageSize(), bytes = RoundUp(size > 0 ? size : 1, static_cast<size_t>(alignment));
  CHECK(static_cast<size_t>(alignment) <= page);
  size_t mapped = 0;
  uint8_t* begin = MapGuarded(page + bytes, &mapped);  // the first page remembers how much there is
  if (begin == nullptr) throw std::bad_alloc();
  std::memcpy(begin, &mapped, sizeof(mapped));
  CHECK(mprotect(begin, page, PROT_READ) == 0);
  std::memset(begin + page, 0xA5 + ++guarded_blocks, mapped - page);
  return begin + mapped - bytes;
}

void operator delete[](void* pointer, std::align_val_t) noexcept {
  if (pointer == nullptr) return;
  const uintptr_t page = PageSize();
  uint8_t* begin = reinterpret_cast<uint8_t*>(reinterpret_cast<uintptr_t>(pointer) / page * page - page);
  size_t mapped = 0;
  std::memcpy(&mapped, begin, sizeof(mapped));
  Unmap(begin, mapped);
}
