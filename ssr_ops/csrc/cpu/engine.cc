#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "core/aligned.h"
#include "core/engines.h"
#include "core/fold.h"
#include "core/head.h"
#include "core/idle.h"
#include "core/thread_pool.h"
#include "cpu/prepared.h"
#include "ssr/shared.h"

namespace ssr {
namespace {

// What one thread needs to work on one image.
struct Scratch {
  AlignedFloats floats, dots;
  std::vector<double> head;
};

// Engines of one model, precision and implementation run on the same packed weights.
std::shared_ptr<const cpu::Prepared> PrepareOnce(const Model& model, Precision precision, Isa isa) {
  using Key = std::tuple<const Model*, Precision, Isa>;
  static auto* const networks = new Shared<Key, const cpu::Prepared>;  // outlives every engine
  return networks->Get({&model, precision, isa}, [&] { return cpu::Prepare(model, precision, isa); });
}

class CpuEngine final : public Engine {
 public:
  CpuEngine(std::shared_ptr<const Model> model, const EngineOptions& options, Precision precision, Isa isa)
      : isa_(isa),
        network_(PrepareOnce(*model, precision, isa)),
        head_(MakeHead(*model)),
        dots_(model->architecture.TotalBins() * 2 + head_.num_stages),
        pool_(options.threads - 1) {
    model_ = std::move(model);
    options_ = options;
    for (int i = 0; i < options.threads - 1; ++i) helpers_.push_back(MakeScratch());
    idle_.Take();  // none yet: counts the first
    idle_.Give(MakeScratch());
  }

  const char* implementation() const override { return IsaName(isa_); }

  Status Predict(const uint8_t* const* images, int64_t n, const Outputs& outputs) override {
    SSR_RETURN_IF_ERROR(CheckPredict(*model_, images, n, outputs));
    try {
      std::unique_ptr<Scratch> scratch = idle_.Take();
      if (scratch == nullptr) scratch = MakeScratch();
      Call call{this, images, &outputs, scratch.get()};
      pool_.Run(n, &CpuEngine::RunTask, &call);
      idle_.Give(std::move(scratch));
    } catch (const std::exception& error) {
      return {Code::kInternal, std::string("no memory for a call's work: ") + error.what()};
    }
    return {};
  }

 private:
  struct Call {
    CpuEngine* engine;
    const uint8_t* const* images;
    const Outputs* outputs;
    Scratch* scratch;  // of the calling thread
  };

  static void RunTask(void* context, int64_t index, int worker) {
    const Call& call = *static_cast<Call*>(context);
    CpuEngine& engine = *call.engine;
    engine.RunImage(call.images[index], index, *call.outputs,
                    worker < 0 ? call.scratch : engine.helpers_[static_cast<size_t>(worker)].get());
  }

  void RunImage(const uint8_t* image, int64_t i, const Outputs& outputs, Scratch* scratch) const {
    network_->Run(image, scratch->floats.get(), scratch->dots.get());
    const int64_t bins = model_->architecture.TotalBins(), stages = head_.num_stages;
    float value = 0;
    FinishHead(
        head_, scratch->dots.get(), scratch->head.data(),
        {&value, outputs.p ? outputs.p + i * bins : nullptr, outputs.eta ? outputs.eta + i * bins : nullptr,
         outputs.delta ? outputs.delta + i * stages : nullptr});
    value = Recalibrated(*model_, value);
    if (outputs.value != nullptr) outputs.value[i] = value;
    if (outputs.interval != nullptr) FillInterval(*model_, value, outputs.interval + 2 * i);
  }

  std::unique_ptr<Scratch> MakeScratch() const {
    auto scratch = std::make_unique<Scratch>();
    scratch->floats = MakeAligned(network_->scratch_bytes() / static_cast<int64_t>(sizeof(float)));
    scratch->dots = MakeAligned(dots_);
    scratch->head.resize(static_cast<size_t>(HeadWork(head_)));
    return scratch;
  }

  const Isa isa_;
  const std::shared_ptr<const cpu::Prepared> network_;
  const Head head_;
  const int dots_;  // floats that network_ writes for one image
  Idle<Scratch> idle_;
  std::vector<std::unique_ptr<Scratch>> helpers_;
  ThreadPool pool_;
};

}  // namespace

Status CreateCpuEngine(std::shared_ptr<const Model> model, const EngineOptions& options, Precision precision,
                       std::unique_ptr<Engine>* engine) {
  Isa isa = Isa::kPortable;
  SSR_RETURN_IF_ERROR(ChooseIsa(options.implementation, &isa, precision));
  *engine = std::make_unique<CpuEngine>(std::move(model), options, precision, isa);
  return {};
}

}  // namespace ssr
