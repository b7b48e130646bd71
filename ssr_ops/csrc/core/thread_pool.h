// A persistent pool that helps whoever calls it; the caller always works too.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ssr {

class ThreadPool {
 public:
  // One task of a job; `worker` is -1 on the calling thread, else 0 .. helpers - 1.
  using Task = void (*)(void* context, int64_t index, int worker);

  explicit ThreadPool(int helpers);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Runs task(context, i, worker) for 0 <= i < count and returns when all are done. Concurrent calls share
  // the helpers. Tasks must not throw.
  void Run(int64_t count, Task task, void* context);

 private:
  struct Job {
    Task task;
    void* context;
    int64_t count;
    std::atomic<int64_t> next;
    int helping;  // guarded by sync_->mutex
  };

  static void Work(Job* job, int worker);
  void Help(int worker);

  struct Sync {
    std::mutex mutex;
    std::condition_variable work, done;
  };
  std::unique_ptr<Sync> sync_ = std::make_unique<Sync>();
  std::deque<Job*> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
  pid_t owner_;
};

}  // namespace ssr
