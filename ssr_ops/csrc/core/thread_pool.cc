#include "core/thread_pool.h"

#include <unistd.h>

#include <algorithm>

namespace ssr {

ThreadPool::ThreadPool(int helpers) : owner_(getpid()) {
  try {
    for (int worker = 0; worker < helpers; ++worker) threads_.emplace_back([this, worker] { Help(worker); });
  } catch (...) {
    {
      const std::lock_guard<std::mutex> lock(sync_->mutex);
      stopping_ = true;
    }
    sync_->work.notify_all();
    for (std::thread& thread : threads_) thread.join();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  if (getpid() != owner_) {  // a fork has no helpers to join, and its conditions wait for them when destroyed
    for (std::thread& thread : threads_) thread.detach();
    static_cast<void>(sync_.release());
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(sync_->mutex);
    stopping_ = true;
  }
  sync_->work.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Run(int64_t count, Task task, void* context) {
  Job job{task, context, count, {0}, 0};
  const bool shared = count > 1 && !threads_.empty();
  if (shared) {
    {
      const std::lock_guard<std::mutex> lock(sync_->mutex);
      jobs_.push_back(&job);
    }
    sync_->work.notify_all();
  }
  Work(&job, -1);
  if (shared) {
    std::unique_lock<std::mutex> lock(sync_->mutex);
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    sync_->done.wait(lock, [&job] { return job.helping == 0; });
  }
}

void ThreadPool::Work(Job* job, int worker) {
  for (;;) {
    const int64_t index = job->next.fetch_add(1, std::memory_order_relaxed);
    if (index >= job->count) return;
    job->task(job->context, index, worker);
  }
}

void ThreadPool::Help(int worker) {
  std::unique_lock<std::mutex> lock(sync_->mutex);
  const auto open = [this]() -> Job* {
    for (Job* job : jobs_) {
      if (job->next.load(std::memory_order_relaxed) < job->count) return job;
    }
    return nullptr;
  };
  for (;;) {
    Job* job = nullptr;
    sync_->work.wait(lock, [&] { return stopping_ || (job = open()) != nullptr; });
    if (stopping_) return;
    ++job->helping;
    lock.unlock();
    Work(job, worker);
    lock.lock();
    if (--job->helping == 0) sync_->done.notify_all();
  }
}

}  // namespace ssr
