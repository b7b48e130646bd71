// Requests to the mode frame made of any bytes: each is answered or refused once, and released.
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "backend_testing.h"
#include "fake_triton.h"

namespace {

// The input, byte by byte; zeros behind its end.
class Source {
 public:
  Source(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  unsigned Byte() { return at_ < size_ ? data_[at_++] : 0; }
  bool Mostly() { return Byte() % 8 != 0; }

  // Mostly small, else anything.
  int64_t Side() {
    if (Mostly()) return Byte() % 7;
    int64_t side = 0;
    for (int i = 0; i < 8; ++i) side = static_cast<int64_t>(static_cast<uint64_t>(side) << 8 | Byte());
    return side;
  }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

// Bytes that fit the shape where they are few, or others, in one buffer or several.
void FillBuffers(Source* source, int64_t bytes, TRITONBACKEND_Input* input) {
  if (bytes < 0 || bytes > 4096 || !source->Mostly()) bytes = source->Byte();
  std::vector<uint8_t> all(static_cast<size_t>(bytes));
  for (uint8_t& byte : all) byte = static_cast<uint8_t>(source->Byte() % 4);
  const size_t cut = source->Mostly() ? 0 : source->Byte() % (all.size() + 1);
  const auto middle = all.begin() + static_cast<ptrdiff_t>(cut);
  if (cut > 0) input->buffers.push_back({{all.begin(), middle}, TRITONSERVER_MEMORY_CPU});
  input->buffers.push_back({{middle, all.end()}, TRITONSERVER_MEMORY_CPU});
}

void AddRows(Source* source, const char* name, std::vector<int64_t> row, TRITONBACKEND_Request* request) {
  TRITONBACKEND_Input& input = request->others[name];
  input.type = source->Mostly() ? TRITONSERVER_TYPE_FP32 : TRITONSERVER_TYPE_UINT8;
  if (!source->Mostly()) row.back() = source->Side();
  row.insert(row.begin(), source->Side());
  int64_t values = 1;
  for (const int64_t side : row) values *= side >= 0 && side < 16 ? side : 16;
  input.shape = std::move(row);
  FillBuffers(source, values * 4, &input);
}

void AddParameter(Source* source, TRITONBACKEND_Request* request) {
  static const char* const kKeys[] = {"format", "matrix",           "range", "threshold",
                                      "scales", "interface_sha256", "other"};
  static const char* const kTexts[] = {"bgr", "rgb",        "nv12",   "bt601", "bt709", "limited", "full",
                                       "0.5", "640",        "64,128", "",      ",",     "1e300",   "nan",
                                       "-1",  "9999999999", "0x10",   "640,,", "BGR"};
  FakeParameter parameter;
  parameter.key = kKeys[source->Byte() % std::size(kKeys)];
  parameter.type = source->Mostly() ? TRITONSERVER_PARAMETER_STRING : TRITONSERVER_PARAMETER_DOUBLE;
  parameter.value = kTexts[source->Byte() % std::size(kTexts)];
  parameter.value.reserve(16);  // a number of eight bytes is read of it, where it says that it is one
  request->parameters.push_back(parameter);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Source source(data, size);
  TRITONBACKEND_Request request;
  const bool nv12 = source.Byte() % 3 == 0;
  TRITONBACKEND_Input& frame = request.others["frame"];
  frame.type = source.Mostly() ? TRITONSERVER_TYPE_UINT8 : TRITONSERVER_TYPE_FP32;
  frame.shape = {source.Side(), source.Side(), nv12 ? 1 : 3};
  if (!source.Mostly()) frame.shape.push_back(source.Side());
  const int64_t height = frame.shape[0], width = frame.shape[1];
  const bool small = height >= 0 && height < 16 && width >= 0 && width < 16;
  FillBuffers(&source, small ? height * width * (nv12 ? 1 : 3) : 0, &frame);
  if (source.Byte() % 2 == 0) AddRows(&source, "boxes", {4}, &request);
  if (source.Byte() % 4 == 0) AddRows(&source, "landmarks", {5, 2}, &request);
  if (source.Mostly()) {
    request.parameters.push_back({"format", TRITONSERVER_PARAMETER_STRING, nv12 ? "nv12" : "bgr"});
    if (nv12) {
      request.parameters.push_back({"matrix", TRITONSERVER_PARAMETER_STRING, "bt709"});
      request.parameters.push_back({"range", TRITONSERVER_PARAMETER_STRING, "full"});
    }
  }
  for (unsigned i = source.Byte() % 3; i > 0; --i) AddParameter(&source, &request);
  request.outputs = {"age", "boxes"};
  if (!source.Mostly()) request.outputs.push_back("male");
  request.cancelled = !source.Mostly();
  AskServedFrames(&request);
  const FakeOutcome& outcome = request.outcome;
  CHECK(outcome.sent == 1 && outcome.reported == 1 && outcome.released == 1);
  CHECK(outcome.has_error != outcome.reported_ok);
  CHECK(outcome.has_error == (outcome.parameters.count("faces") == 0));
  CHECK(!outcome.has_error || (!outcome.message.empty() && outcome.message.find('\n') == std::string::npos));
  return 0;
}
