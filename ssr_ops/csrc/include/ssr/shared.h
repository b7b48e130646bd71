// One object of each key for all who ask, as long as any of them holds it.
#pragma once

#include <iterator>
#include <map>
#include <memory>
#include <mutex>

namespace ssr {

template <typename Key, typename T>
class Shared {
 public:
  // The object of `key`, if somebody holds one; else the one that `make` returns, a shared_ptr.
  template <typename Make>
  std::shared_ptr<T> Get(const Key& key, Make&& make) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto entry = held_.begin(); entry != held_.end();) {
      entry = entry->second.expired() ? held_.erase(entry) : std::next(entry);
    }
    const auto found = held_.find(key);
    if (found != held_.end()) {
      if (std::shared_ptr<T> object = found->second.lock()) return object;
    }
    std::shared_ptr<T> made = make();
    held_[key] = made;
    return made;
  }

 private:
  std::mutex mutex_;
  std::map<Key, std::weak_ptr<T>> held_;  // guarded by mutex_
};

}  // namespace ssr
