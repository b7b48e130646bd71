#include "triton/crops_instance.h"

#include <utility>

namespace ssr::triton {
namespace {

Error CheckShape(const InputSpec& spec, const std::vector<int64_t>& shape) {
  bool fits = shape.size() == spec.dims.size() + 1 && shape[0] >= 1;
  for (size_t i = 0; fits && i < spec.dims.size(); ++i) fits = shape[i + 1] == spec.dims[i];
  if (fits) return nullptr;
  std::string expected = "[1 or more";
  for (const int64_t dim : spec.dims) expected += ", " + std::to_string(dim);
  return Invalid("input '" + spec.name + "' has shape " + ShapeText(shape) + ", expected " + expected + "]");
}

}  // namespace

CropsInstance::CropsInstance(TRITONBACKEND_ModelInstance* handle, const ModelState& state,
                             std::unique_ptr<Engine> engine)
    : handle_(handle),
      state_(state),
      engine_(std::move(engine)),
      computes_(engine_->options().precision + " " + engine_->implementation()),
      scratch_(state.config.mode.outputs.size()) {}

Error CropsInstance::Execute(TRITONBACKEND_Request** requests, uint32_t count) {
  Times times;
  times.start = Times::Now();
  batch_.clear();
  batch_.resize(count);
  finished_.clear();
  for (Request& request : batch_) finished_.push_back(&request);
  gatherer_.Clear();
  for (uint32_t i = 0; i < count; ++i) {
    Request& request = batch_[i];
    request.handle = requests[i];
    request.error = Error(TRITONBACKEND_ResponseNew(&request.response, request.handle));
    if (!request.error) request.error = Guard([&] { return Read(&request); });
  }

  times.compute_start = Times::Now();
  const Error failed = Guard([&] { return Compute(); });
  times.compute_end = Times::Now();

  for (Request& request : batch_) {
    if (request.error) continue;
    if (failed) {
      request.error = MakeError(TRITONSERVER_ERROR_INTERNAL, TRITONSERVER_ErrorMessage(failed.get()));
    } else {
      request.error = Guard([&] { return FillResponse(state_, computes_, RowsOf(request), request); });
    }
  }
  times.end = Times::Now();
  Finish(handle_, times, finished_.data(), finished_.size());
  return nullptr;
}

// Appends the request's images.
Error CropsInstance::Read(Request* request) {
  if (Error error = ReadHead(state_, request)) return error;
  const InputSpec& spec = state_.config.mode.inputs.front();
  if (Error error = ReadInput(request->handle, spec, &input_)) return error;
  if (Error error = CheckShape(spec, input_.shape)) return error;
  request->first = static_cast<int64_t>(gatherer_.images().size());
  request->rows = input_.shape[0];
  return MakeError(gatherer_.Add(input_.buffers, request->rows), "input '" + spec.name + "' ");
}

// All outputs that any request wants of all images, into scratch_.
Error CropsInstance::Compute() {
  const std::vector<const uint8_t*>& images = gatherer_.images();
  if (images.empty()) return nullptr;
  uint64_t requested = 0;
  for (const Request& request : batch_) {
    if (!request.error) requested |= request.requested;
  }
  results_ = Results();
  const std::vector<OutputSpec>& outputs = state_.config.mode.outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if ((requested >> i & 1) == 0) continue;
    const size_t size = images.size() * static_cast<size_t>(outputs[i].width());
    if (scratch_[i].size() < size) scratch_[i].resize(size);
    results_.*outputs[i].field = scratch_[i].data();
  }
  return MakeError(engine_->Predict(images.data(), static_cast<int64_t>(images.size()), results_));
}

// What is asked for, from the request's own rows on.
Results CropsInstance::RowsOf(const Request& request) const {
  Results rows = results_;
  for (const OutputSpec& output : state_.config.mode.outputs) {
    float*& first = rows.*output.field;
    if (first != nullptr) first += request.first * output.width();
  }
  return rows;
}

}  // namespace ssr::triton
