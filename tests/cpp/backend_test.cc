// The backend against a fake server: split buffers, GPU memory, cancellation, failing calls, exceptions.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <string>

#include "backend_testing.h"
#include "fake_engine.h"
#include "fake_triton.h"
#include "ssr/model.h"
#include "triton/gather.h"

namespace {

const char kHash[] = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const char kConfig[] = R"({
  "max_batch_size": 64,
  "input": [{"name": "image", "data_type": "TYPE_UINT8", "dims": ["64", "64", "3"]}],
  "output": [{"name": "age", "data_type": "TYPE_FP32", "dims": [1]},
             {"name": "delta", "data_type": "TYPE_FP32", "dims": ["2"]},
             {"name": "age_interval", "data_type": "TYPE_FP32", "dims": [2]}],
  "parameters": {"interface": {"string_value": "{}"},
                 "interface_sha256": {"string_value":
                   "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}
})";

// A model with one instance, as the server holds it.
struct Served {
  TRITONBACKEND_Model model;
  TRITONBACKEND_ModelInstance instance;

  Served() {
    model.config = kConfig;
    instance.model = &model;
    CHECK(TRITONBACKEND_ModelInitialize(&model) == nullptr);
    CHECK(TRITONBACKEND_ModelInstanceInitialize(&instance) == nullptr);
  }
  ~Served() {
    CHECK(TRITONBACKEND_ModelInstanceFinalize(&instance) == nullptr);
    CHECK(TRITONBACKEND_ModelFinalize(&model) == nullptr);
    CHECK(fake::live_errors == 0 && fake::live_responses == 0 && fake::live_messages == 0);
  }

  TRITONSERVER_Error* Execute(std::deque<TRITONBACKEND_Request>* requests) {
    std::vector<TRITONBACKEND_Request*> pointers;
    for (TRITONBACKEND_Request& request : *requests) pointers.push_back(&request);
    return TRITONBACKEND_ModelInstanceExecute(&instance, pointers.data(),
                                              static_cast<uint32_t>(pointers.size()));
  }
};

std::mt19937 rng(7);

// A request of `images` random images, cut into buffers at the given byte positions.
TRITONBACKEND_Request MakeRequest(int64_t images, std::vector<size_t> cuts = {}) {
  TRITONBACKEND_Request request;
  request.image.shape = {images, 64, 64, 3};
  request.outputs = {"age"};
  std::vector<uint8_t> bytes(static_cast<size_t>(images * ssr::kImageBytes));
  const unsigned level = 1 + rng() % 255;  // so that sums differ between requests
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng() % level);
  cuts.push_back(bytes.size());
  size_t begin = 0;
  for (const size_t end : cuts) {
    request.image.buffers.push_back(
        {{bytes.begin() + static_cast<ptrdiff_t>(begin), bytes.begin() + static_cast<ptrdiff_t>(end)},
         TRITONSERVER_MEMORY_CPU});
    begin = end;
  }
  return request;
}

std::vector<float> Expected(const TRITONBACKEND_Request& request) {
  std::vector<uint8_t> bytes;
  for (const FakeBuffer& buffer : request.image.buffers) {
    bytes.insert(bytes.end(), buffer.bytes.begin(), buffer.bytes.end());
  }
  std::vector<float> answers;
  for (size_t at = 0; at + ssr::kImageBytes <= bytes.size(); at += ssr::kImageBytes) {
    answers.push_back(fake::Answer(bytes.data() + at));
  }
  return answers;
}

void CheckHandled(const FakeOutcome& outcome) {
  CHECK(outcome.sent == 1 && outcome.released == 1 && outcome.reported == 1);
  CHECK(outcome.reported_ok == !outcome.has_error);
}

void CheckAnswered(const FakeOutcome& outcome, const std::vector<float>& expected) {
  CheckHandled(outcome);
  CHECK(!outcome.has_error);
  const TRITONBACKEND_Output& age = outcome.outputs.at("age");
  CHECK((age.shape == std::vector<int64_t>{static_cast<int64_t>(expected.size()), 1}));
  CHECK(age.values == expected);
  CHECK((outcome.parameters == std::map<std::string, std::string>{{"weights_sha256", "cafe"},
                                                                  {"engine", "fp32 fake"},
                                                                  {"synthetic", "true"}}));
}

void CheckRefused(const FakeOutcome& outcome, TRITONSERVER_Error_Code code, const std::string& words) {
  CheckHandled(outcome);
  CHECK(outcome.has_error && outcome.code == code);
  CHECK(outcome.message.find(words) != std::string::npos);
}

// Whole images are pointed to, only straddling ones are copied; a failure leaves nothing behind.
void TestGatherer() {
  const uint64_t size = ssr::kImageBytes;
  std::vector<uint8_t> bytes(4 * size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng());
  ssr::triton::Gatherer gatherer;
  CHECK(gatherer.Add({{bytes.data(), size, false}, {bytes.data() + size, 3 * size, false}}, 4).ok());
  CHECK(gatherer.copied() == 0 && gatherer.images().size() == 4);
  for (size_t i = 0; i < 4; ++i) CHECK(gatherer.images()[i] == bytes.data() + i * size);

  const uint64_t cut = 2 * size + 5;
  CHECK(gatherer.Add({{bytes.data(), cut, false}, {bytes.data() + cut, 2 * size - 5, false}}, 4).ok());
  CHECK(gatherer.copied() == 1 && gatherer.images().size() == 8);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(std::memcmp(gatherer.images()[4 + i], bytes.data() + i * size, size) == 0);
  }

  CHECK(!gatherer.Add({{bytes.data(), size - 1, false}}, 1).ok());
#ifndef SSR_CUDA
  CHECK(!gatherer.Add({{bytes.data(), size + 5, false}, {bytes.data(), size - 5, true}}, 2).ok());
#endif
  CHECK(gatherer.copied() == 1 && gatherer.images().size() == 8);
  gatherer.Clear();
  CHECK(gatherer.copied() == 0 && gatherer.images().empty());
}

void TestSplitBuffers() {
  Served served;
  const size_t size = ssr::kImageBytes;
  const std::vector<std::vector<size_t>> cuts = {
      {}, {0}, {1}, {size}, {size - 1, size + 1}, {10, 20, 30}, {size, size, 2 * size}, {0, 0, 3 * size - 1}};
  for (int turn = 0; turn < 3; ++turn) {  // blocks of the last batch are used again
    std::deque<TRITONBACKEND_Request> requests;
    std::vector<std::vector<float>> expected;
    for (const auto& cut : cuts) requests.push_back(MakeRequest(3, cut));
    std::vector<size_t> everywhere;
    for (size_t at = 0; at < 4 * size; at += 997) everywhere.push_back(at);
    requests.push_back(MakeRequest(4, everywhere));
    for (const auto& request : requests) expected.push_back(Expected(request));
    fake::calls.clear();
    CHECK(served.Execute(&requests) == nullptr);
    for (size_t i = 0; i < requests.size(); ++i) CheckAnswered(requests[i].outcome, expected[i]);
    CHECK((fake::calls == std::vector<int64_t>{3 * 8 + 4}));
    CHECK(served.instance.batches.back() == 3 * 8 + 4);
  }
}

void TestOutputsOfEachRequest() {
  Served served;
  std::deque<TRITONBACKEND_Request> requests = {MakeRequest(2), MakeRequest(1)};
  requests[0].outputs = {"age_interval"};
  requests[1].outputs = {"delta", "age"};
  const float first = Expected(requests[0])[0], second = Expected(requests[0])[1];
  const float third = Expected(requests[1])[0];
  CHECK(served.Execute(&requests) == nullptr);
  const auto& interval = requests[0].outcome.outputs;
  CHECK(interval.size() == 1);
  CHECK((interval.at("age_interval").values ==
         std::vector<float>{first - 1, first + 1, second - 1, second + 1}));
  CHECK((interval.at("age_interval").shape == std::vector<int64_t>{2, 2}));
  const auto& others = requests[1].outcome.outputs;
  CHECK(others.size() == 2);
  CHECK((others.at("delta").values == std::vector<float>{-third, -third}));
  CHECK((others.at("age").values == std::vector<float>{third}));
}

// Each fault is answered alone; the requests around it get their answers.
void TestFaultsStayAlone() {
  using Edit = std::function<void(TRITONBACKEND_Request*)>;
  struct Case {
    Edit edit;
    TRITONSERVER_Error_Code code;
    std::string words;
  };
  const auto hash = [](TRITONSERVER_ParameterType type, const std::string& value) -> Edit {
    return [=](TRITONBACKEND_Request* r) { r->parameters = {{"interface_sha256", type, value}}; };
  };
  const std::vector<Case> cases = {
      {[](auto* r) { r->cancelled = true; }, TRITONSERVER_ERROR_CANCELLED, "cancelled"},
      {hash(TRITONSERVER_PARAMETER_STRING, "beef"), TRITONSERVER_ERROR_INVALID_ARG,
       "interface beef, ages has " + std::string(kHash) + ": another interface is another model name"},
      {hash(TRITONSERVER_PARAMETER_INT, "12345678"), TRITONSERVER_ERROR_INVALID_ARG, "expected a string"},
      {hash(TRITONSERVER_PARAMETER_BOOL, "1"), TRITONSERVER_ERROR_INVALID_ARG, "expected a string"},
      {[](auto* r) { r->outputs = {"male"}; }, TRITONSERVER_ERROR_INVALID_ARG, "output 'male' is unknown"},
      {[](auto* r) { r->image.type = TRITONSERVER_TYPE_INT8; }, TRITONSERVER_ERROR_INVALID_ARG, "not UINT8"},
      {[](auto* r) { r->image.shape = {2, 64, 64}; }, TRITONSERVER_ERROR_INVALID_ARG, "shape [2, 64, 64]"},
      {[](auto* r) { r->image.shape = {0, 64, 64, 3}; }, TRITONSERVER_ERROR_INVALID_ARG,
       "[1 or more, 64, 64, 3]"},
      {[](auto* r) { r->image.shape = {-1, 64, 64, 3}; }, TRITONSERVER_ERROR_INVALID_ARG, "shape [-1,"},
      {[](auto* r) { r->image.shape = {3, 64, 64, 3}; }, TRITONSERVER_ERROR_INVALID_ARG,
       "holds 24576 bytes, expected 3 images of 12288"},
      {[](auto* r) { r->image.buffers[0].bytes.pop_back(); }, TRITONSERVER_ERROR_INVALID_ARG, "24575 bytes"},
      {[](auto* r) { r->image.buffers.clear(); }, TRITONSERVER_ERROR_INVALID_ARG, "holds 0 bytes"},
#ifndef SSR_CUDA
      {[](auto* r) { r->image.buffers[0].memory = TRITONSERVER_MEMORY_GPU; }, TRITONSERVER_ERROR_UNSUPPORTED,
       "lies in GPU memory"},
      {[](auto* r) { r->output_memory = TRITONSERVER_MEMORY_GPU; }, TRITONSERVER_ERROR_UNSUPPORTED,
       "wanted in GPU memory"},
#endif
  };
  Served served;
  for (const Case& c : cases) {
    std::deque<TRITONBACKEND_Request> requests = {MakeRequest(3, {5}), MakeRequest(2), MakeRequest(4)};
    c.edit(&requests[1]);
    requests[2].parameters = {{"interface_sha256", TRITONSERVER_PARAMETER_STRING, kHash},
                              {"priority", TRITONSERVER_PARAMETER_INT, "4"}};
    const auto first = Expected(requests[0]), last = Expected(requests[2]);
    CHECK(served.Execute(&requests) == nullptr);
    CheckAnswered(requests[0].outcome, first);
    CheckRefused(requests[1].outcome, c.code, c.words);
    CheckAnswered(requests[2].outcome, last);
    CHECK(served.instance.batches.back() == 7);
  }
}

void TestPinnedMemory() {
  Served served;
  std::deque<TRITONBACKEND_Request> requests = {MakeRequest(2)};
  requests[0].image.buffers[0].memory = TRITONSERVER_MEMORY_CPU_PINNED;
  requests[0].output_memory = TRITONSERVER_MEMORY_CPU_PINNED;
  const auto expected = Expected(requests[0]);
  CHECK(served.Execute(&requests) == nullptr);
  CheckAnswered(requests[0].outcome, expected);
}

void TestNothingToCompute() {
  Served served;
  fake::calls.clear();
  std::deque<TRITONBACKEND_Request> requests = {MakeRequest(2), MakeRequest(1)};
  for (TRITONBACKEND_Request& request : requests) request.cancelled = true;
  CHECK(served.Execute(&requests) == nullptr);
  for (const auto& request : requests)
    CheckRefused(request.outcome, TRITONSERVER_ERROR_CANCELLED, "cancelled");
  CHECK(fake::calls.empty() && served.instance.batches.empty());
  std::deque<TRITONBACKEND_Request> none;
  CHECK(served.Execute(&none) == nullptr);
}

void TestEngineTrouble() {
  Served served;
  const std::map<fake::Trouble, std::string> troubles = {{fake::Trouble::kStatus, "the engine refuses"},
                                                         {fake::Trouble::kException, "the engine throws"},
                                                         {fake::Trouble::kOutOfMemory, "out of memory"}};
  for (const auto& [trouble, words] : troubles) {
    fake::trouble = trouble;
    std::deque<TRITONBACKEND_Request> requests = {MakeRequest(1), MakeRequest(2)};
    CHECK(served.Execute(&requests) == nullptr);
    for (const auto& request : requests) CheckRefused(request.outcome, TRITONSERVER_ERROR_INTERNAL, words);
    CHECK(served.instance.batches.empty());
  }
  fake::trouble = fake::Trouble::kNone;
  std::deque<TRITONBACKEND_Request> requests = {MakeRequest(1)};
  const auto expected = Expected(requests[0]);
  CHECK(served.Execute(&requests) == nullptr);
  CheckAnswered(requests[0].outcome, expected);
}

// Whichever call of the server fails: every request is answered right or refused, and released, once.
void TestEveryCallMayFail() {
  Served served;
  int failures = 0;
  for (int k = 1;; ++k) {
    std::deque<TRITONBACKEND_Request> requests = {MakeRequest(1), MakeRequest(2, {100}), MakeRequest(1)};
    requests[0].parameters = {{"interface_sha256", TRITONSERVER_PARAMETER_STRING, kHash}};
    requests[1].outputs = {"age", "delta"};
    std::vector<std::vector<float>> expected;
    for (const auto& request : requests) expected.push_back(Expected(request));
    fake::fail_at = k;
    TRITONSERVER_Error* error = served.Execute(&requests);
    const bool reached = fake::fail_at == 0;
    fake::fail_at = 0;
    int refused = 0;
    for (size_t i = 0; i < requests.size(); ++i) {
      const FakeOutcome& outcome = requests[i].outcome;
      if (error != nullptr) {  // all requests are the server's again, untouched
        CHECK(outcome.sent == 0 && outcome.released == 0 && outcome.reported == 0);
        continue;
      }
      CHECK(outcome.released == 1 && outcome.reported == 1 && outcome.sent <= 1);
      if (outcome.sent == 1 && !outcome.has_error) {
        CheckAnswered(outcome, expected[i]);
      } else {
        ++refused;
        CHECK(!outcome.reported_ok);
      }
    }
    CHECK(refused <= 1);
    if (error != nullptr) TRITONSERVER_ErrorDelete(error);
    CHECK(fake::live_errors == 0 && fake::live_responses == 0);
    if (!reached) break;
    ++failures;
  }
  CHECK(failures > 30);
}

void TestLoadingMayFail() {
  int failures = 0;
  for (int k = 1;; ++k) {
    TRITONBACKEND_Model model;
    model.config = kConfig;
    TRITONBACKEND_ModelInstance instance;
    instance.model = &model;
    fake::fail_at = k;
    TRITONSERVER_Error* error = TRITONBACKEND_ModelInitialize(&model);
    if (error == nullptr) error = TRITONBACKEND_ModelInstanceInitialize(&instance);
    const bool reached = fake::fail_at == 0;
    fake::fail_at = 0;
    CHECK(TRITONBACKEND_ModelInstanceFinalize(&instance) == nullptr);
    CHECK(TRITONBACKEND_ModelFinalize(&model) == nullptr);
    if (error != nullptr) TRITONSERVER_ErrorDelete(error);
    CHECK(fake::live_errors == 0 && fake::live_messages == 0);
    if (!reached) break;
    ++failures;
  }
  CHECK(failures > 8);
}

void CheckMessage(TRITONSERVER_Error* error, const std::string& words) {
  CHECK(error != nullptr);
  CHECK(error->message.find(words) != std::string::npos);
  TRITONSERVER_ErrorDelete(error);
}

void TestLoadErrors() {
  TRITONBACKEND_Model model;
  model.location = "/elsewhere";
  CheckMessage(TRITONBACKEND_ModelInitialize(&model), "ages version 3: /elsewhere/3: not here");
  model = {};
  for (const char* broken : {"", "{", "[]", "7", R"({"parameters": 3})", R"({"parameters": {"mode": 3}})"}) {
    model.config = broken;
    CheckMessage(TRITONBACKEND_ModelInitialize(&model), "ages version 3: ");
    CHECK(model.state == nullptr);
  }
  model.config = kConfig;
  CHECK(TRITONBACKEND_ModelInitialize(&model) == nullptr);
  TRITONBACKEND_ModelInstance instance;
  instance.model = &model;
  instance.kind = TRITONSERVER_INSTANCEGROUPKIND_GPU;
  CheckMessage(TRITONBACKEND_ModelInstanceInitialize(&instance), "device 'cuda:0' is not built");
  instance.kind = TRITONSERVER_INSTANCEGROUPKIND_MODEL;
  CheckMessage(TRITONBACKEND_ModelInstanceInitialize(&instance), "expected KIND_CPU or KIND_GPU");
  CHECK(TRITONBACKEND_ModelFinalize(&model) == nullptr);
}

void TestBackend() {
  TRITONBACKEND_Backend backend;
  CHECK(TRITONBACKEND_Initialize(&backend) == nullptr);
  fake::api_minor = 18;
  CheckMessage(TRITONBACKEND_Initialize(&backend), "interface is 1.18, the ssr backend needs 1.19");
  fake::api_minor = 25;
  CHECK(TRITONBACKEND_Initialize(&backend) == nullptr);
  fake::api_major = 2;
  CheckMessage(TRITONBACKEND_Initialize(&backend), "interface is 2.25");
  TRITONBACKEND_BackendAttribute attribute;
  CHECK(TRITONBACKEND_GetBackendAttribute(&backend, &attribute) == nullptr);
  CHECK(!attribute.kinds.empty() && attribute.kinds.back() == TRITONSERVER_INSTANCEGROUPKIND_CPU);
}

}  // namespace

int main() {
  TestGatherer();
  TestSplitBuffers();
  TestOutputsOfEachRequest();
  TestFaultsStayAlone();
  TestPinnedMemory();
  TestNothingToCompute();
  TestEngineTrouble();
  TestEveryCallMayFail();
  TestLoadingMayFail();
  TestLoadErrors();
  TestBackend();
  TestFrames();
  CHECK(fake::live_errors == 0);
  std::puts("backend_test: passed");
}
