#include "fake_engine.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>

#include "ssr/crop.h"
#include "ssr/detector.h"
#include "ssr/engine.h"
#include "ssr/precision.h"

namespace fake {

using ssr::Status;

Trouble trouble = Trouble::kNone;
std::vector<int64_t> calls;
Trouble blindness = Trouble::kNone;
std::atomic<int> searches{0};
std::atomic<bool> held{false};

Status Meet(Trouble trouble, const std::string& who) {
  if (trouble == Trouble::kStatus) return {ssr::Code::kInvalidArgument, who + " refuses"};
  if (trouble == Trouble::kException) throw std::runtime_error(who + " throws");
  if (trouble == Trouble::kOutOfMemory) throw std::bad_alloc();
  return {};
}

float Answer(const uint8_t* image) {
  return static_cast<float>(std::accumulate(image, image + ssr::kImageBytes, int64_t{0}));
}

}  // namespace fake

namespace ssr {
namespace {

class FakeEngine : public Engine {
 public:
  FakeEngine(std::shared_ptr<const Model> model, const EngineOptions& options) {
    model_ = std::move(model);
    options_ = options;
  }

  Status Predict(const uint8_t* const* images, int64_t n, const Outputs& outputs) override {
    fake::calls.push_back(n);
    SSR_RETURN_IF_ERROR(fake::Meet(fake::trouble, "the engine"));
    for (int64_t i = 0; i < n; ++i) {
      const float answer = fake::Answer(images[i]);
      if (outputs.value != nullptr) outputs.value[i] = answer;
      if (outputs.interval != nullptr) {
        outputs.interval[2 * i] = answer - 1;
        outputs.interval[2 * i + 1] = answer + 1;
      }
      if (outputs.delta != nullptr) outputs.delta[2 * i] = outputs.delta[2 * i + 1] = -answer;
    }
    return {};
  }

  const char* implementation() const override { return "fake"; }
};

class FakeDetector : public Detector {
 public:
  Status Detect(const Frame& frame, const SearchOptions&, std::vector<Detection>* found) override {
    ++fake::searches;
    while (fake::held) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    SSR_RETURN_IF_ERROR(fake::Meet(fake::blindness, "the detector"));
    for (int i = 0; i < frame.data[0]; ++i) {
      Detection face = {static_cast<float>(i), 2, 3, 4, 0.5f, {}};
      face.landmarks[9] = 7;
      found->push_back(face);
    }
    return {};
  }
  Status Raw(const Frame&, std::vector<float>*) override { return {}; }
  const char* implementation() const override { return "fake"; }
};

}  // namespace

// Of the machine that this engine runs on, bf16 is the quickest precision and int8 slower than fp32.
Status ChoosePrecision(const std::shared_ptr<const Model>&, const EngineOptions&, PrecisionChoice* choice) {
  choice->precision = Precision::kBf16;
  choice->reason = "it is so here";
  return {};
}

std::string SlowerThanFp32(const PrecisionChoice&, const std::string& precision) {
  return precision == "int8" ? "int8 is slow here" : "";
}

const char* PrecisionName(Precision precision) { return precision == Precision::kFp32 ? "fp32" : "bf16"; }

Status Detector::Create(std::shared_ptr<const DetectorModel>, const DetectorOptions&,
                        std::unique_ptr<Detector>* detector) {
  *detector = std::make_unique<FakeDetector>();
  return {};
}

Status DetectorModel::Load(const std::string&, std::shared_ptr<const DetectorModel>* model) {
  auto loaded = std::make_shared<DetectorModel>();
  loaded->name = "eyes";
  loaded->contract_sha256 = "ee";
  loaded->weights_sha256 = "f00d";
  *model = std::move(loaded);
  return {};
}

Status CutFaces(const Frame& frame, const Crop&, bool, const float* boxes, const float*, int64_t n,
                uint8_t* crops) {
  for (int64_t i = 0; i < n; ++i) {
    const float* box = boxes + 4 * i;
    if (!(box[2] > 0)) return {Code::kInvalidArgument, "box " + std::to_string(i) + " has no area"};
    std::fill_n(crops + i * kImageBytes, kImageBytes, static_cast<uint8_t>(frame.data[1] + box[0]));
  }
  return {};
}

Status Engine::Create(std::shared_ptr<const Model> model, const EngineOptions& options,
                      std::unique_ptr<Engine>* engine) {
  if (options.device != "cpu") return {Code::kUnsupported, "device '" + options.device + "' is not built"};
  *engine = std::make_unique<FakeEngine>(std::move(model), options);
  return {};
}

Status Model::Load(const std::string& folder, std::shared_ptr<const Model>* model) {
  if (folder != "/repository/ages/3" && folder.rfind("/tmp/", 0) != 0)
    return {Code::kNotFound, folder + ": not here"};
  auto loaded = std::make_shared<Model>();
  loaded->architecture.stages = {2, 3};
  loaded->input_name = "image";
  loaded->output_name = "age";
  loaded->interval.half_widths = {1.0};
  // sha256 of "{}"
  loaded->interface_sha256 = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
  loaded->weights_sha256 = "cafe";
  loaded->synthetic = true;
  *model = std::move(loaded);
  return {};
}

}  // namespace ssr
