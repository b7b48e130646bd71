#include "triton/frame_instance.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

namespace ssr::triton {
namespace {

// Frames answered together, and their given boxes, but for a frame that has more by itself: none waits for
// more of others.
constexpr size_t kMostTogether = 64;
constexpr int64_t kMostBoxesTogether = 256;

}  // namespace

FrameInstance::FrameInstance(TRITONBACKEND_ModelInstance* handle, const ModelState& state,
                             std::unique_ptr<Engine> engine, std::unique_ptr<Detector> detector)
    : handle_(handle),
      state_(state),
      engine_(std::move(engine)),
      detector_(std::move(detector)),
      computes_(engine_->options().precision + " " + engine_->implementation()),
      worker_([this] { Work(); }) {}

FrameInstance::~FrameInstance() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  worker_.join();
}

Error FrameInstance::Execute(TRITONBACKEND_Request** requests, uint32_t count) {
  std::vector<std::unique_ptr<FrameRequest>> taken;
  for (uint32_t i = 0; i < count; ++i) {  // what can fail, while they are the server's still
    taken.push_back(std::make_unique<FrameRequest>());
    taken.back()->request.handle = requests[i];
  }
  for (std::unique_ptr<FrameRequest>& frame : taken) {
    TRITONBACKEND_Request* handle = frame->request.handle;
    bool queued = false;
    const Error failed = Guard([&]() -> Error {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (queue_.size() < static_cast<size_t>(state_.config.limits.queue)) {
        queue_.push_back(std::move(frame));
        queued = true;
      }
      return nullptr;
    });
    if (!queued) Refuse(handle);
  }
  wake_.notify_one();
  return nullptr;
}

// Answers one that finds no room.
void FrameInstance::Refuse(TRITONBACKEND_Request* handle) {
  Request request;
  request.handle = handle;
  Times times;
  times.start = times.compute_start = times.compute_end = times.end = Times::Now();
  request.error = Error(TRITONBACKEND_ResponseNew(&request.response, handle));
  if (!request.error) {
    request.error = MakeError(TRITONSERVER_ERROR_UNAVAILABLE,
                              std::to_string(state_.config.limits.queue) +
                                  " frames wait already, as many as this model takes (max_queue)");
  }
  Request* const refused = &request;
  Finish(handle_, times, &refused, 1);
}

void FrameInstance::Work() {
  Batch batch;  // no memory is asked for between the queue and the answers
  batch.reserve(kMostTogether);
  requests_.reserve(kMostTogether);
  while (Take(&batch)) {
    Answer(batch);
    batch.clear();
  }
}

// Waits for frames. Those with boxes are taken together; a search takes longer than all else, so that a batch
// has one at most.
bool FrameInstance::Take(Batch* batch) {
  std::unique_lock<std::mutex> lock(mutex_);
  wake_.wait(lock, [&] { return closing_ || !queue_.empty(); });
  bool searches = false;
  int64_t boxes = 0;
  while (!queue_.empty() && batch->size() < kMostTogether) {
    const int64_t rows = RowsOfInput(queue_.front()->request.handle, "boxes");
    if (!batch->empty() && (rows < 0 ? searches : boxes + rows > kMostBoxesTogether)) break;
    searches = searches || rows < 0;
    boxes += std::max(rows, int64_t{0});
    batch->push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return !batch->empty();
}

void FrameInstance::Answer(const Batch& batch) {
  Times times;
  times.start = Times::Now();
  rows_ = 0;
  requests_.clear();
  for (const std::unique_ptr<FrameRequest>& frame : batch) {
    Request& request = frame->request;
    requests_.push_back(&request);
    request.error = Error(TRITONBACKEND_ResponseNew(&request.response, request.handle));
    if (!request.error) request.error = Guard([&] { return ReadFrameRequest(state_, frame.get()); });
  }

  times.compute_start = Times::Now();
  for (const std::unique_ptr<FrameRequest>& frame : batch) {
    Request& request = frame->request;
    if (!request.error && !frame->given) request.error = Guard([&] { return Find(frame.get()); });
    if (!request.error) request.error = Guard([&] { return Cut(frame.get()); });
  }
  const Error failed = Guard([&] { return Predict(); });
  times.compute_end = Times::Now();

  for (const std::unique_ptr<FrameRequest>& frame : batch) {
    Request& request = frame->request;
    if (request.error) continue;
    if (failed) {
      request.error = MakeError(TRITONSERVER_ERROR_INTERNAL, TRITONSERVER_ErrorMessage(failed.get()));
    } else {
      request.error = Guard([&]() -> Error {
        const std::string faces = std::to_string(request.rows);
        SSR_RETURN_IF_TRITON_ERROR(
            TRITONBACKEND_ResponseSetStringParameter(request.response, "faces", faces.c_str()));
        return FillResponse(state_, computes_, RowsOf(frame.get()), request);
      });
    }
  }
  times.end = Times::Now();
  Finish(handle_, times, requests_.data(), requests_.size());
}

// The faces that the detector sees.
Error FrameInstance::Find(FrameRequest* frame) {
  found_.clear();
  if (Error error = MakeError(detector_->Detect(frame->frame, frame->search, &found_))) return error;
  Faces& faces = frame->faces;
  for (const Detection& face : found_) {
    if (static_cast<int64_t>(faces.scores.size()) == state_.config.limits.boxes) break;
    faces.boxes.insert(faces.boxes.end(), {face.x, face.y, face.width, face.height});
    faces.scores.push_back(face.score);
    faces.landmarks.insert(faces.landmarks.end(), std::begin(face.landmarks), std::end(face.landmarks));
  }
  return nullptr;
}

// Appends the frame's crops to the batch's; an error leaves those as they are.
Error FrameInstance::Cut(FrameRequest* frame) {
  const auto count = static_cast<int64_t>(frame->faces.boxes.size() / 4);
  const auto end = static_cast<size_t>((rows_ + count) * kImageBytes);
  if (crops_.size() < end) crops_.resize(end);
  const Faces& faces = frame->faces;
  const float* landmarks = faces.landmarks.empty() ? nullptr : faces.landmarks.data();
  const Status cut = CutFaces(frame->frame, state_.model->crop, state_.model->colour == "rgb",
                              faces.boxes.data(), landmarks, count, crops_.data() + rows_ * kImageBytes);
  if (Error error = MakeError(cut)) return error;
  frame->request.first = rows_;
  frame->request.rows = count;
  rows_ += count;
  return nullptr;
}

Error FrameInstance::Predict() {
  const auto rows = static_cast<size_t>(rows_);
  values_.resize(rows);
  std::vector<const uint8_t*> images;
  for (size_t i = 0; i < rows; ++i) images.push_back(crops_.data() + i * kImageBytes);
  Outputs outputs;
  outputs.value = values_.data();
  if (!state_.model->interval.half_widths.empty()) {
    intervals_.resize(2 * rows);
    outputs.interval = intervals_.data();
  }
  return MakeError(engine_->Predict(images.data(), rows_, outputs));
}

// What can be said of the frame's own faces. Of none nothing: a server's own code is not safe with outputs of
// no rows (an HTTP request for classification ends tritonserver 2.51).
Results FrameInstance::RowsOf(FrameRequest* frame) {
  Results results;
  if (frame->request.rows == 0) return results;
  const int64_t first = frame->request.first;
  const auto from = [](std::vector<float>& values, int64_t at) {
    return values.empty() ? nullptr : values.data() + at;
  };
  Faces& faces = frame->faces;
  results.value = from(values_, first);
  results.interval = from(intervals_, 2 * first);
  results.boxes = from(faces.boxes, 0);
  results.scores = from(faces.scores, 0);
  results.landmarks = from(faces.landmarks, 0);
  return results;
}

}  // namespace ssr::triton
