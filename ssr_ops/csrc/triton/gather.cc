#include "triton/gather.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "ssr/model.h"
#include "triton/device_memory.h"

namespace ssr::triton {
namespace {

constexpr uint64_t kSize = static_cast<uint64_t>(kImageBytes);

Status Copy(uint8_t* to, const uint8_t* from, uint64_t size, bool on_device) {
  if (on_device) return CopyToHost(to, from, size);
  std::memcpy(to, from, size);
  return {};
}

}  // namespace

void Gatherer::Clear() {
  images_.clear();
  used_ = 0;
}

Status Gatherer::Add(const std::vector<Buffer>& buffers, int64_t count) {
  uint64_t bytes = 0;
  for (const Buffer& buffer : buffers) bytes += buffer.size;
  if (count < 0 || bytes != static_cast<uint64_t>(count) * kSize) {
    return {Code::kInvalidArgument, "holds " + std::to_string(bytes) + " bytes, expected " +
                                        std::to_string(count) + " images of " + std::to_string(kSize)};
  }
  const size_t images = images_.size(), used = used_;
  images_.reserve(images + static_cast<size_t>(count));
  const Status status = Append(buffers);
  if (!status.ok()) {
    images_.resize(images);
    used_ = used;
  }
  return status;
}

Status Gatherer::Append(const std::vector<Buffer>& buffers) {
  uint8_t* block = nullptr;  // an image that began in an earlier buffer
  uint64_t filled = 0;
  for (const Buffer& buffer : buffers) {
    uint64_t done = 0;
    while (done < buffer.size) {
      const uint8_t* data = buffer.data + done;
      const uint64_t left = buffer.size - done;
      if (block == nullptr && left >= kSize && !buffer.on_device) {
        images_.push_back(data);
        done += kSize;
        continue;
      }
      if (block == nullptr) block = NextBlock();
      const uint64_t part = std::min(left, kSize - filled);
      SSR_RETURN_IF_ERROR(Copy(block + filled, data, part, buffer.on_device));
      done += part;
      filled += part;
      if (filled == kSize) {
        images_.push_back(block);
        block = nullptr;
        filled = 0;
      }
    }
  }
  return {};
}

uint8_t* Gatherer::NextBlock() {
  if (used_ == blocks_.size()) blocks_.emplace_back(new uint8_t[kSize]);
  return blocks_[used_++].get();
}

}  // namespace ssr::triton
