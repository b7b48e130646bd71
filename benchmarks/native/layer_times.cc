// Each layer's time, of kernels that tell when a layer is done (timed_kernel.cc).
#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>

#include "core/aligned.h"
#include "cpu/prepared.h"
#include "timers.h"

namespace ssr {
namespace {

using Clock = std::chrono::steady_clock;

// Keeps the shortest time between one layer's end and the next one's.
struct Stopwatch {
  explicit Stopwatch(size_t layers) : shortest(layers, std::numeric_limits<double>::infinity()) {}

  void Start() {
    next = 0;
    last = Clock::now();
  }
  void Stop() {
    const double seconds = std::chrono::duration<double>(Clock::now() - last).count();
    if (next < shortest.size()) shortest[next] = std::min(shortest[next], seconds);
    ++next;
    last = Clock::now();
  }

  std::vector<double> shortest;
  size_t next = 0;  // layer
  Clock::time_point last;
};

thread_local Stopwatch* running = nullptr;

std::vector<std::string> LayerNames(const Architecture& architecture) {
  std::vector<std::string> names = {"x.0 s.0", "x.1", "s.1", "x.2", "s.2", "x.3", "s.3"};
  for (size_t k = 0; k < architecture.stages.size(); ++k) names.push_back("stages." + std::to_string(k));
  return names;
}

Status TimeUnguarded(std::shared_ptr<const Model> model, const EngineOptions& options, const uint8_t* image,
                     double seconds, std::vector<LayerTime>* layers) {
  // An engine checks model and options; what is timed is a network of its own.
  std::unique_ptr<Engine> engine;
  SSR_RETURN_IF_ERROR(Engine::Create(model, options, &engine));
  Precision precision = Precision::kFp32;
  SSR_RETURN_IF_ERROR(ParsePrecision(options.precision, &precision));
  if (options.device != "cpu") return {Code::kUnsupported, "layers are timed on the cpu only"};
  if (image == nullptr) return {Code::kInvalidArgument, "layers are timed on an image, got none"};
  Isa isa = Isa::kPortable;
  SSR_RETURN_IF_ERROR(ChooseIsa(engine->implementation(), &isa, precision));

  const std::vector<std::string> names = LayerNames(model->architecture);
  const std::unique_ptr<cpu::Prepared> network = cpu::Prepare(*model, precision, isa);
  const AlignedFloats scratch =
      MakeAligned((network->scratch_bytes() + int64_t{sizeof(float)} - 1) / int64_t{sizeof(float)});
  const AlignedFloats dots = MakeAligned(2 * model->architecture.TotalBins() +
                                         static_cast<int64_t>(model->architecture.stages.size()));
  Stopwatch stopwatch(names.size());
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  do {
    stopwatch.Start();
    running = &stopwatch;
    network->Run(image, scratch.get(), dots.get());
    running = nullptr;
    if (stopwatch.next != names.size()) {
      return {Code::kInternal, std::string(engine->implementation()) + " tells of " +
                                   std::to_string(stopwatch.next) + " layers, not " +
                                   std::to_string(names.size())};
    }
  } while (Clock::now() < end);
  layers->clear();
  for (size_t i = 0; i < names.size(); ++i) layers->push_back({names[i], stopwatch.shortest[i]});
  return {};
}

}  // namespace

void LayerDone();
void LayerDone() {
  if (running != nullptr) running->Stop();
}

Status TimeLayers(std::shared_ptr<const Model> model, const EngineOptions& options, const uint8_t* image,
                  double seconds, std::vector<LayerTime>* layers) {
  try {
    return TimeUnguarded(std::move(model), options, image, seconds, layers);
  } catch (const std::exception& error) {
    return {Code::kInternal, std::string("the layers could not be timed: ") + error.what()};
  }
}

}  // namespace ssr
