#include "fake_engine.h"

#include <new>
#include <numeric>
#include <stdexcept>
#include <string>

#include "ssr/engine.h"

namespace fake {

Trouble trouble = Trouble::kNone;
std::vector<int64_t> calls;

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
    if (fake::trouble == fake::Trouble::kStatus) return {Code::kInvalidArgument, "the engine refuses"};
    if (fake::trouble == fake::Trouble::kException) throw std::runtime_error("the engine throws");
    if (fake::trouble == fake::Trouble::kOutOfMemory) throw std::bad_alloc();
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

}  // namespace

Status Engine::Create(std::shared_ptr<const Model> model, const EngineOptions& options,
                      std::unique_ptr<Engine>* engine) {
  if (options.device != "cpu") return {Code::kUnsupported, "device '" + options.device + "' is not built"};
  *engine = std::make_unique<FakeEngine>(std::move(model), options);
  return {};
}

Status Model::Load(const std::string& folder, std::shared_ptr<const Model>* model) {
  if (folder != "/repository/ages/3") return {Code::kNotFound, folder + ": not here"};
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
