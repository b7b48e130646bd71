// Any bytes as a bundle are refused with a message, or loaded, and then every engine gives finite answers
// inside the contract's range. Whatever else happens ends the process.
#include "bundle_fuzz.h"

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "core/contract.h"
#include "core/safetensors.h"
#include "core_testing.h"
#include "ssr/sha256.h"

// In place of core/sha256.cc: every file has the hash that the contracts of the fuzz claim.
std::string ssr::Sha256Hex(const void*, size_t) { return fuzz::kHash; }
void ssr::Sha256::Update(const void*, size_t) {}
std::string ssr::Sha256::Hex() { return fuzz::kHash; }

namespace fuzz {

long reached[kDepths] = {};

Input Unpack(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size < 4) return {bytes, ""};
  size_t length = 0;
  for (size_t i = 4; i-- > 0;) length = length << 8 | data[i];
  if (length > size - 4) length = size - 4;
  return {bytes.substr(4, length), bytes.substr(4 + length)};
}

std::string Pack(const Input& input) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(input.contract.size() >> (8 * i));
  return bytes + input.contract + input.model;
}

namespace {

[[noreturn]] void Fault(const std::string& what) {
  std::fprintf(stderr, "fault: %s\n", what.c_str());
  std::abort();
}

// A bundle folder of this process; left behind by a crash.
class Folder {
 public:
  Folder() {
    const char* parent = std::getenv("TMPDIR");
    path_ = std::string(parent != nullptr ? parent : "/tmp") + "/ssr-fuzz-XXXXXX";
    CHECK(mkdtemp(path_.data()) != nullptr);
    Write("golden.safetensors", "");
  }
  ~Folder() {
    for (const char* name : {"/contract.json", "/model.safetensors", "/golden.safetensors", ""}) {
      std::remove((path_ + name).c_str());
    }
  }
  const std::string& path() const { return path_; }

  void Write(const char* name, const std::string& bytes) const {
    std::ofstream stream(path_ + "/" + name, std::ios::binary);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    stream.close();
    CHECK(stream.good());
  }

 private:
  std::string path_;
};

// A refusal is for a person: a sentence, and never a failure that the core had not thought of.
void CheckRefusal(const ssr::Status& status) {
  if (status.code() == ssr::Code::kInternal) Fault("internal error: " + status.message());
  if (status.message().empty()) Fault("a refusal without a message");
}

Depth RefusedBy(const Input& input, const std::string& message) {
  ssr::Model model;
  std::map<std::string, ssr::FileEntry> files;
  if (!ssr::ParseContract(input.contract, &model, &files).ok()) return kContract;
  if (!ssr::ParseSafetensors(input.model, &model.parameters).ok() &&
      message.find("/model.safetensors: ") != std::string::npos &&
      message.find("the contract says") == std::string::npos) {
    return kSafetensors;
  }
  return message.find("/model.safetensors: ") == std::string::npos ||
                 message.find("the contract says") != std::string::npos
             ? kFiles
             : kParameters;
}

void CheckAnswers(ssr::Engine* engine, size_t choice) {
  static const std::vector<uint8_t> pictures = testing::Pictures(8);
  static const std::vector<const uint8_t*> images = testing::Pointers(pictures);
  const ssr::Model& model = engine->model();
  const size_t bins = static_cast<size_t>(model.architecture.TotalBins());
  float value = NAN, ends[2] = {NAN, NAN};
  std::vector<float> p(bins, NAN), eta(bins, NAN), delta(model.architecture.stages.size(), NAN);
  ssr::Outputs outputs{&value, ends, p.data(), eta.data(), delta.data()};
  if (model.interval.half_widths.empty()) outputs.interval = nullptr;
  testing::Check(engine->Predict(&images[choice % images.size()], 1, outputs));
  for (const std::vector<float>* values : {&p, &eta, &delta}) {
    for (const float each : *values) {
      if (!std::isfinite(each)) Fault("a stage output is not finite");
    }
  }
  const auto check = [&](float answer) {
    if (!std::isfinite(answer) || answer < model.clip_low || answer > model.clip_high) {
      Fault("an answer outside the contract's range: " + std::to_string(answer));
    }
  };
  check(value);
  if (outputs.interval != nullptr) check(ends[0]), check(ends[1]);
}

// FNV-1a: an input runs in one way of many, which depends on nothing but the input.
uint32_t Hash(const std::string& bytes) {
  uint32_t hash = 2166136261u;
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return hash >> 4;
}

Depth Run(const Input& input) {
  static const Folder folder;
  folder.Write("contract.json", input.contract);
  folder.Write("model.safetensors", input.model);
  std::shared_ptr<const ssr::Model> model;
  const ssr::Status loaded = ssr::Model::Load(folder.path(), &model);
  if (!loaded.ok()) {
    CheckRefusal(loaded);
    return RefusedBy(input, loaded.message());
  }
  const std::vector<testing::Kind> kinds = testing::Kinds(*model);
  const size_t choice = Hash(input.contract + input.model);
  const testing::Kind& kind = kinds[choice % kinds.size()];
  ssr::EngineOptions options;
  options.precision = kind.precision;
  options.implementation = kind.implementation;
  std::unique_ptr<ssr::Engine> engine;
  const ssr::Status created = ssr::Engine::Create(model, options, &engine);
  if (!created.ok()) {
    CheckRefusal(created);
    return kEngine;
  }
  CheckAnswers(engine.get(), choice / kinds.size());
  return kAnswered;
}

}  // namespace
}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input = fuzz::Unpack(data, size);
  const size_t at = input.contract.find(fuzz::kSize);
  if (at != std::string::npos) {
    input.contract.replace(at, std::strlen(fuzz::kSize), std::to_string(input.model.size()));
  }
  ++fuzz::reached[fuzz::Run(input)];
  return 0;
}
