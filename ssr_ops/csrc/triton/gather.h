// One pointer an image, over input bytes that lie in any number of buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ssr/status.h"

namespace ssr::triton {

struct Buffer {
  const uint8_t* data;
  uint64_t size;
  bool on_device;  // GPU memory: copied, not pointed into
};

// Images whole in one host buffer are pointed to; others are copied to blocks kept for the next batch.
class Gatherer {
 public:
  // Forgets the last batch; the memory stays.
  void Clear();

  // Appends the `count` images that `buffers` hold one after another. On failure nothing is appended.
  Status Add(const std::vector<Buffer>& buffers, int64_t count);

  // Valid until Clear and while the buffers live.
  const std::vector<const uint8_t*>& images() const { return images_; }
  // How many of the images were copied.
  size_t copied() const { return used_; }

 private:
  Status Append(const std::vector<Buffer>& buffers);
  uint8_t* NextBlock();

  std::vector<const uint8_t*> images_;
  std::vector<std::unique_ptr<uint8_t[]>> blocks_;
  size_t used_ = 0;
};

}  // namespace ssr::triton
