// What calls at the same time have one each of, kept for the next call.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

namespace ssr {

template <typename T>
class Idle {
 public:
  // Null if none is idle: the caller makes one, and gives it back.
  std::unique_ptr<T> Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) {
      idle_.reserve(++all_);  // so that Give never allocates
      return nullptr;
    }
    std::unique_ptr<T> taken = std::move(idle_.back());
    idle_.pop_back();
    return taken;
  }
  void Give(std::unique_ptr<T> taken) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(taken));
  }
  void Clear() { idle_.clear(); }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;  // guarded by mutex_
  size_t all_ = 0;                        // guarded by mutex_: how many there are
};

}  // namespace ssr
