// The mode `frame`: requests wait in a queue, and a worker answers what is under way.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "triton/frame_request.h"
#include "triton/instance.h"

namespace ssr::triton {

// The server hands frames over one by one, for they have no batch dimension. Whoever waited here is answered
// together, the faces of all in one call of the engine.
class FrameInstance final : public Instance {
 public:
  // `detector`: null where none is served.
  FrameInstance(TRITONBACKEND_ModelInstance* handle, const ModelState& state, std::unique_ptr<Engine> engine,
                std::unique_ptr<Detector> detector);
  // Answers what waits first.
  ~FrameInstance() override;

  // Queues the requests and returns. One that finds the queue full is answered UNAVAILABLE.
  Error Execute(TRITONBACKEND_Request** requests, uint32_t count) override;

 private:
  using Batch = std::vector<std::unique_ptr<FrameRequest>>;

  void Work();
  bool Take(Batch* batch);
  void Answer(const Batch& batch);
  Error Find(FrameRequest* frame);
  Error Cut(FrameRequest* frame);
  Error Predict();
  Results RowsOf(FrameRequest* frame);
  void Refuse(TRITONBACKEND_Request* handle);

  TRITONBACKEND_ModelInstance* handle_;
  const ModelState& state_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Detector> detector_;
  const std::string computes_;

  // The worker's, kept from batch to batch.
  std::vector<Request*> requests_;
  std::vector<Detection> found_;
  std::vector<uint8_t> crops_;
  std::vector<float> values_, intervals_;
  int64_t rows_ = 0;  // faces of the batch

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<FrameRequest>> queue_;  // guarded by mutex_
  bool closing_ = false;                             // guarded by mutex_
  std::thread worker_;
};

}  // namespace ssr::triton
