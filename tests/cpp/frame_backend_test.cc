// The mode frame against the fake server: gathering, faults that stay alone, the queue, failing calls.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "backend_testing.h"
#include "fake_engine.h"
#include "fake_triton.h"
#include "ssr/maps.h"

namespace {

const char kConfig[] = R"({
  "max_batch_size": 0,
  "input": [{"name": "frame", "data_type": "TYPE_UINT8", "dims": ["-1", "-1", "-1"]},
            {"name": "boxes", "data_type": "TYPE_FP32", "dims": [-1, 4], "optional": true},
            {"name": "landmarks", "data_type": "TYPE_FP32", "dims": [-1, 5, 2], "optional": true}],
  "output": [{"name": "age", "data_type": "TYPE_FP32", "dims": [-1]},
             {"name": "age_interval", "data_type": "TYPE_FP32", "dims": [-1, 2]},
             {"name": "boxes", "data_type": "TYPE_FP32", "dims": [-1, 4]},
             {"name": "scores", "data_type": "TYPE_FP32", "dims": [-1]},
             {"name": "landmarks", "data_type": "TYPE_FP32", "dims": [-1, 5, 2]}],
  "parameters": {"interface": {"string_value": "{}"},
                 "interface_sha256": {"string_value":
                   "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
                 "mode": {"string_value": "frame"},
                 "detector_sha256": {"string_value": "DETECTOR"},
                 "max_boxes": {"string_value": "3"},
                 "max_frame_pixels": {"string_value": "100"},
                 "max_queue": {"string_value": "4"}}
})";

const std::vector<std::string> kOutputs = {"age", "age_interval", "boxes", "scores", "landmarks"};

// A folder with a detector in it, for the backend looks whether there is one.
std::string Repository() {
  static const std::string folder = [] {
    char name[] = "/tmp/ssr-frames-XXXXXX";
    CHECK(mkdtemp(name) != nullptr);
    CHECK(mkdir((std::string(name) + "/detector").c_str(), 0700) == 0);
    return std::string(name);
  }();
  return folder;
}

struct Served {
  TRITONBACKEND_Model model;
  TRITONBACKEND_ModelInstance instance;
  bool open = true;

  explicit Served(bool detector = true) {
    model.config = kConfig;
    model.config.replace(model.config.find("DETECTOR"), 8, detector ? "f00d" : "none");
    if (detector) model.location = Repository();
    instance.model = &model;
    CHECK(TRITONBACKEND_ModelInitialize(&model) == nullptr);
    CHECK(TRITONBACKEND_ModelInstanceInitialize(&instance) == nullptr);
  }
  ~Served() { Close(); }
  void Close() {
    if (!open) return;
    open = false;
    CHECK(TRITONBACKEND_ModelInstanceFinalize(&instance) == nullptr);
    CHECK(TRITONBACKEND_ModelFinalize(&model) == nullptr);
    CHECK(fake::live_errors == 0 && fake::live_responses == 0 && fake::live_messages == 0);
  }

  // As the server hands frames over: one a call.
  void Execute(TRITONBACKEND_Request* request) {
    CHECK(TRITONBACKEND_ModelInstanceExecute(&instance, &request, 1) == nullptr);
  }
};

void Wait(const TRITONBACKEND_Request& request) {
  while (request.outcome.released == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
}

template <typename T>
std::vector<uint8_t> Bytes(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// A frame of 2 x 3 pixels whose first bytes are `faces` and `level`.
void Fill(TRITONBACKEND_Request* request, uint8_t faces, uint8_t level) {
  std::vector<uint8_t> pixels(18, 9);
  pixels[0] = faces;
  pixels[1] = level;
  TRITONBACKEND_Input& frame = request->others["frame"];
  frame.shape = {2, 3, 3};
  frame.buffers.push_back({pixels, TRITONSERVER_MEMORY_CPU});
  request->outputs = kOutputs;
  request->parameters = {{"format", TRITONSERVER_PARAMETER_STRING, "bgr"}};
}

void AddRows(TRITONBACKEND_Request* request, const char* name, std::vector<int64_t> shape,
             const std::vector<float>& values) {
  TRITONBACKEND_Input& rows = request->others[name];
  rows.type = TRITONSERVER_TYPE_FP32;
  rows.shape = std::move(shape);
  rows.buffers = {{Bytes(values), TRITONSERVER_MEMORY_CPU}};
}

float AgeOf(int level, int x) { return static_cast<float>(ssr::kImageBytes * (level + x)); }

void CheckRefused(const FakeOutcome& outcome, TRITONSERVER_Error_Code code, const std::string& words) {
  CHECK(outcome.sent == 1 && outcome.released == 1 && outcome.reported == 1);
  CHECK(outcome.has_error && outcome.code == code && !outcome.reported_ok);
  if (outcome.message.find(words) == std::string::npos) {
    std::fprintf(stderr, "expected '%s' in '%s'\n", words.c_str(), outcome.message.c_str());
    std::exit(1);
  }
}

void CheckFound(const FakeOutcome& outcome, int faces, int level) {
  CHECK(outcome.sent == 1 && outcome.released == 1 && outcome.reported == 1);
  CHECK(!outcome.has_error && outcome.reported_ok);
  CHECK(outcome.outputs.size() == (faces == 0 ? 0 : kOutputs.size()));
  CHECK(outcome.parameters.at("faces") == std::to_string(faces));
  for (const auto& [name, output] : outcome.outputs) CHECK(output.shape.at(0) == faces);
  if (faces > 0) CHECK((outcome.outputs.at("landmarks").shape == std::vector<int64_t>{faces, 5, 2}));
  for (int i = 0; i < faces; ++i) {
    const auto at = static_cast<size_t>(i);
    CHECK(outcome.outputs.at("age").values[at] == AgeOf(level, i));
    CHECK(outcome.outputs.at("age_interval").values[2 * at] == AgeOf(level, i) - 1);
    CHECK(outcome.outputs.at("boxes").values[4 * at] == static_cast<float>(i));
    CHECK(outcome.outputs.at("scores").values[at] == 0.5f);
    CHECK(outcome.outputs.at("landmarks").values[10 * at + 9] == 7);
  }
  CHECK(outcome.parameters.at("weights_sha256") == "cafe");
  CHECK(outcome.parameters.at("detector_sha256") == "f00d");
}

void TestSearched() {
  Served served;
  for (const int faces : {0, 1, 3}) {
    TRITONBACKEND_Request request;
    Fill(&request, static_cast<uint8_t>(faces), 20);
    served.Execute(&request);
    Wait(request);
    CheckFound(request.outcome, faces, 20);
  }
  TRITONBACKEND_Request many;  // more faces than max_boxes: the first of them
  Fill(&many, 9, 20);
  served.Execute(&many);
  Wait(many);
  CheckFound(many.outcome, 3, 20);
}

void TestGiven() {
  Served served;
  for (const int count : {0, 1, 3}) {
    TRITONBACKEND_Request request;
    Fill(&request, 2, 30);
    std::vector<float> boxes;
    for (int i = 0; i < count; ++i) boxes.insert(boxes.end(), {static_cast<float>(5 * i), 1, 2, 2});
    AddRows(&request, "boxes", {count, 4}, boxes);
    const int searches = fake::searches;
    served.Execute(&request);
    Wait(request);
    const FakeOutcome& outcome = request.outcome;
    CHECK(!outcome.has_error && fake::searches == searches);
    CHECK(outcome.parameters.at("faces") == std::to_string(count));
    if (count == 0) CHECK(outcome.outputs.empty());
    if (count == 0) continue;
    CHECK(outcome.outputs.count("scores") == 0 && outcome.outputs.count("landmarks") == 0);
    CHECK((outcome.outputs.at("boxes").shape == std::vector<int64_t>{count, 4}));
    CHECK(outcome.outputs.at("boxes").values == boxes);
    for (int i = 0; i < count; ++i) {
      CHECK(outcome.outputs.at("age").values[static_cast<size_t>(i)] == AgeOf(30, 5 * i));
    }
  }
}

void TestSplitFrame() {
  Served served;
  TRITONBACKEND_Request request;
  Fill(&request, 2, 40);
  TRITONBACKEND_Input& frame = request.others["frame"];
  const std::vector<uint8_t> whole = frame.buffers[0].bytes;
  frame.buffers.clear();
  for (size_t at = 0; at < whole.size(); at += 5) {
    const size_t end = std::min(whole.size(), at + 5);
    frame.buffers.push_back(
        {{whole.begin() + static_cast<ptrdiff_t>(at), whole.begin() + static_cast<ptrdiff_t>(end)},
         TRITONSERVER_MEMORY_CPU});
  }
  served.Execute(&request);
  Wait(request);
  CheckFound(request.outcome, 2, 40);
}

// Those that wait for the same worker: one call of the engine for all, each answered alone.
void TestGathered() {
  Served served;
  fake::held = true;
  std::deque<TRITONBACKEND_Request> requests(5);
  Fill(&requests[0], 1, 50);
  for (size_t i = 1; i < 5; ++i) {
    Fill(&requests[i], 0, static_cast<uint8_t>(50 + i));
    if (i != 3) AddRows(&requests[i], "boxes", {1, 4}, {static_cast<float>(i), 0, i == 2 ? 0.f : 1.f, 1});
  }
  const int searches = fake::searches;
  served.Execute(&requests[0]);
  while (fake::searches == searches) std::this_thread::yield();
  for (size_t i = 1; i < 5; ++i) served.Execute(&requests[i]);
  fake::calls.clear();
  fake::held = false;
  for (const auto& request : requests) Wait(request);
  CheckFound(requests[0].outcome, 1, 50);
  CHECK(requests[1].outcome.outputs.at("age").values[0] == AgeOf(51, 1));
  CheckRefused(requests[2].outcome, TRITONSERVER_ERROR_INVALID_ARG, "box 0 has no area");
  CheckFound(requests[3].outcome, 0, 53);
  CHECK(requests[4].outcome.outputs.at("age").values[0] == AgeOf(54, 4));
  CHECK((fake::calls == std::vector<int64_t>{1, 2}));
}

void TestQueue() {
  Served served;
  fake::held = true;
  const int searches = fake::searches;
  std::deque<TRITONBACKEND_Request> requests(7);
  for (auto& request : requests) Fill(&request, 1, 60);
  served.Execute(&requests[0]);
  while (fake::searches == searches) std::this_thread::yield();
  for (size_t i = 1; i < 7; ++i) served.Execute(&requests[i]);  // four wait, two find no room
  for (const size_t i : {size_t{5}, size_t{6}}) {
    CheckRefused(requests[i].outcome, TRITONSERVER_ERROR_UNAVAILABLE,
                 "4 frames wait already, as many as this model takes (max_queue)");
  }
  requests[2].cancelled = true;
  std::thread waker([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    fake::held = false;
  });
  served.Close();  // waits for all that is queued
  waker.join();
  for (const size_t i : {0, 1, 3, 4}) CheckFound(requests[i].outcome, 1, 60);
  CheckRefused(requests[2].outcome, TRITONSERVER_ERROR_CANCELLED, "cancelled");
  CHECK(fake::searches == searches + 4);
}

void TestTroubles() {
  Served served;
  const std::map<fake::Trouble, std::string> troubles = {{fake::Trouble::kStatus, " refuses"},
                                                         {fake::Trouble::kException, " throws"},
                                                         {fake::Trouble::kOutOfMemory, "out of memory"}};
  for (auto* const of : {&fake::trouble, &fake::blindness}) {
    for (const auto& [trouble, words] : troubles) {
      *of = trouble;
      TRITONBACKEND_Request request;
      Fill(&request, 1, 70);
      served.Execute(&request);
      Wait(request);
      const bool told = of == &fake::blindness && trouble == fake::Trouble::kStatus;
      CheckRefused(request.outcome, told ? TRITONSERVER_ERROR_INVALID_ARG : TRITONSERVER_ERROR_INTERNAL,
                   words);
    }
    *of = fake::Trouble::kNone;
  }
  TRITONBACKEND_Request request;
  Fill(&request, 1, 70);
  served.Execute(&request);
  Wait(request);
  CheckFound(request.outcome, 1, 70);
}

void TestFaults() {
  struct Case {
    std::function<void(TRITONBACKEND_Request*)> edit;
    TRITONSERVER_Error_Code code;
    std::string words;
  };
  const auto say = [](const char* key, TRITONSERVER_ParameterType type, const char* value) {
    return [=](TRITONBACKEND_Request* r) { r->parameters.push_back({key, type, value}); };
  };
  const auto text = TRITONSERVER_PARAMETER_STRING;
  const std::vector<Case> cases = {
      {[](auto* r) { r->parameters.clear(); }, TRITONSERVER_ERROR_INVALID_ARG, "format is missing"},
      {say("format", text, "yuv"), TRITONSERVER_ERROR_INVALID_ARG, "expected bgr, rgb or nv12, got 'yuv'"},
      {say("format", TRITONSERVER_PARAMETER_BOOL, "x"), TRITONSERVER_ERROR_INVALID_ARG, "expected a string"},
      {say("scales", text, "64,"), TRITONSERVER_ERROR_INVALID_ARG, "rising whole numbers in 32..8192"},
      {say("scales", text, "99999"), TRITONSERVER_ERROR_INVALID_ARG, "rising whole numbers"},
      {say("scales", TRITONSERVER_PARAMETER_BOOL, "x"), TRITONSERVER_ERROR_INVALID_ARG, "whole numbers"},
      {say("threshold", text, "1.5"), TRITONSERVER_ERROR_INVALID_ARG, "a number in 0.01..1"},
      {say("threshold", text, "nan"), TRITONSERVER_ERROR_INVALID_ARG, "a number in 0.01..1"},
      {say("threshold", TRITONSERVER_PARAMETER_BOOL, "x"), TRITONSERVER_ERROR_INVALID_ARG, "a number"},
      {[](auto* r) { r->others["frame"].type = TRITONSERVER_TYPE_INT8; }, TRITONSERVER_ERROR_INVALID_ARG,
       "input 'frame' is not UINT8"},
      {[](auto* r) { r->others["frame"].shape = {11, 10, 3}; }, TRITONSERVER_ERROR_INVALID_ARG,
       "has 10 x 11 pixels, this model takes at most 100"},
      {[](auto* r) { r->others["frame"].shape = {int64_t{1} << 62, int64_t{1} << 62, 3}; },
       TRITONSERVER_ERROR_INVALID_ARG, "this model takes at most 100"},
      {[](auto* r) { r->others["frame"].shape = {2, 3}; }, TRITONSERVER_ERROR_INVALID_ARG, "shape [2, 3]"},
      {[](auto* r) { r->others["frame"].shape = {2, 4, 3}; }, TRITONSERVER_ERROR_INVALID_ARG,
       "holds 18 bytes, expected 24"},
      {[](auto* r) { r->others["frame"].buffers.clear(); }, TRITONSERVER_ERROR_INVALID_ARG, "holds 0 bytes"},
      {[](auto* r) { AddRows(r, "boxes", {-1, 4}, {}); }, TRITONSERVER_ERROR_INVALID_ARG, "[faces, 4]"},
      {[](auto* r) { AddRows(r, "boxes", {1, 5}, {1, 1, 1, 1, 1}); }, TRITONSERVER_ERROR_INVALID_ARG,
       "[faces, 4]"},
      {[](auto* r) { AddRows(r, "boxes", {4, 4}, std::vector<float>(16, 1)); },
       TRITONSERVER_ERROR_INVALID_ARG, "has 4 rows, this model takes at most 3 a frame"},
      {[](auto* r) { AddRows(r, "boxes", {2, 4}, {1, 1, 1, 1}); }, TRITONSERVER_ERROR_INVALID_ARG,
       "holds 16 bytes, expected 32"},
      {[](auto* r) { AddRows(r, "landmarks", {1, 5, 2}, std::vector<float>(10, 1)); },
       TRITONSERVER_ERROR_INVALID_ARG, "'landmarks' is given without 'boxes'"},
      {[](auto* r) { r->outputs = {"male"}; }, TRITONSERVER_ERROR_INVALID_ARG, "output 'male' is unknown"},
#ifndef SSR_CUDA
      {[](auto* r) { r->others["frame"].buffers[0].memory = TRITONSERVER_MEMORY_GPU; },
       TRITONSERVER_ERROR_UNSUPPORTED, "lies in GPU memory"},
      {[](auto* r) { r->output_memory = TRITONSERVER_MEMORY_GPU; }, TRITONSERVER_ERROR_UNSUPPORTED,
       "wanted in GPU memory"},
#endif
  };
  Served served;
  for (const Case& c : cases) {
    TRITONBACKEND_Request request;
    Fill(&request, 1, 80);
    c.edit(&request);
    served.Execute(&request);
    Wait(request);
    CheckRefused(request.outcome, c.code, c.words);
  }
  Served blind(false);
  TRITONBACKEND_Request request;
  Fill(&request, 1, 80);
  blind.Execute(&request);
  Wait(request);
  CheckRefused(request.outcome, TRITONSERVER_ERROR_INVALID_ARG,
               "ages serves no detector: send the input 'boxes'");
}

// Whichever call of the server fails: the request is answered right or refused, and released, once.
void TestEveryCallMayFail() {
  Served served;
  int failures = 0;
  for (const bool given : {false, true}) {
    for (int k = 1;; ++k) {
      TRITONBACKEND_Request request;
      Fill(&request, 1, 90);
      request.parameters.push_back({"threshold", TRITONSERVER_PARAMETER_STRING, "0.5"});
      if (given) {
        request.parameters.pop_back();
        AddRows(&request, "boxes", {1, 4}, {0, 1, 1, 1});
        AddRows(&request, "landmarks", {1, 5, 2}, std::vector<float>(10, 1));
      }
      fake::fail_at = k;
      TRITONBACKEND_Request* pointers[] = {&request};
      if (TRITONSERVER_Error* error = TRITONBACKEND_ModelInstanceExecute(&served.instance, pointers, 1)) {
        CHECK(request.outcome.released == 0 && request.outcome.sent == 0);  // the server's still
        TRITONSERVER_ErrorDelete(error);
        ++failures;
        continue;
      }
      Wait(request);
      const bool reached = fake::fail_at == 0;
      fake::fail_at = 0;
      const FakeOutcome& outcome = request.outcome;
      CHECK(outcome.released == 1 && outcome.reported == 1 && outcome.sent <= 1);
      const bool answered = outcome.sent == 1 && !outcome.has_error;
      CHECK(answered || !outcome.reported_ok);
      if (answered) CHECK(outcome.outputs.at("age").values[0] == AgeOf(90, 0));
      CHECK(fake::live_responses == 0);
      while (fake::live_errors != 0) std::this_thread::yield();  // the worker lets go of its error last
      if (!reached) break;
      ++failures;
    }
  }
  CHECK(failures > 50);
}

// The fuzz target on random bytes; libFuzzer is not needed for that.
void TestAnyRequest() {
  std::mt19937 rng(5);
  for (int i = 0; i < 3000; ++i) {
    std::vector<uint8_t> bytes(rng() % 200);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng());
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
}

}  // namespace

void AskServedFrames(TRITONBACKEND_Request* request) {
  static Served served;
  served.Execute(request);
  Wait(*request);
}

void TestFrames() {
  TestSearched();
  TestGiven();
  TestSplitFrame();
  TestGathered();
  TestQueue();
  TestTroubles();
  TestFaults();
  TestEveryCallMayFail();
  TestAnyRequest();
  CHECK(rmdir((Repository() + "/detector").c_str()) == 0 && rmdir(Repository().c_str()) == 0);
}
