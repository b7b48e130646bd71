// Concurrent Predict calls on one engine with helper threads give the bits of a lone call. Built with
// SSR_SANITIZE=thread it also shows that nothing races. Usage: concurrency_test BUNDLE
#include <atomic>
#include <cstdio>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "ssr/engine.h"

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s BUNDLE\n", argv[0]), 2;
  std::shared_ptr<const ssr::Model> model;
  std::unique_ptr<ssr::Engine> engine;
  ssr::EngineOptions options;
  options.threads = 3;
  ssr::Status status = ssr::Model::Load(argv[1], &model);
  if (status.ok()) status = ssr::Engine::Create(model, options, &engine);
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message().c_str()), 1;

  constexpr int kImages = 9, kCallers = 4, kRounds = 20;
  const size_t stages = model->architecture.stages.size();
  std::mt19937 random(3);
  std::vector<uint8_t> pictures(kImages * ssr::kImageBytes);
  for (uint8_t& value : pictures) value = static_cast<uint8_t>(random());
  std::vector<const uint8_t*> pointers;
  for (int i = 0; i < kImages; ++i) pointers.push_back(pictures.data() + i * ssr::kImageBytes);
  const auto deltas = [&](int begin, int count) {
    std::vector<float> delta(static_cast<size_t>(count) * stages);
    ssr::Outputs outputs;
    outputs.delta = delta.data();
    if (!engine->Predict(pointers.data() + begin, count, outputs).ok()) delta.clear();
    return delta;
  };
  const std::vector<float> expected = deltas(0, kImages);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < kRounds; ++round) {
        const int begin = (caller + round) % kImages, count = kImages - begin;
        const std::vector<float> found = deltas(begin, count);
        const auto from = expected.begin() + static_cast<std::ptrdiff_t>(begin * stages);
        if (found != std::vector<float>(from, expected.end())) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  if (wrong > 0) std::printf("%d of %d calls differ\n", wrong.load(), kCallers * kRounds);
  return wrong > 0 || expected.empty() ? 1 : 0;
}
