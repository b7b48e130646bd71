// The GPU's per-output arithmetic, run in loops on the CPU, against the CPU engine.
// Usage: network_math_test BUNDLE
#include "cuda/network_math.h"

#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include "core/fold.h"
#include "cpu/network_pack.h"
#include "ssr/engine.h"

namespace {

using ssr::cuda::ConvolutionOutput;
using ssr::cuda::FusionOutput;
using ssr::cuda::InputSize;
using ssr::cuda::OutputSize;

template <bool kIsX, bool kPooled, typename In>
void Layer(const ssr::cpu::Convolution& layer, const In* in, int block, float* out) {
  const int side = OutputSize(block);
  for (int i = 0; i < side * side * layer.width; ++i) {
    const int pixel = i / layer.width;
    out[i] = ConvolutionOutput<kIsX, kPooled>(layer, in, InputSize(block), pixel / side, pixel % side,
                                              i % layer.width);
  }
}

void Run(const ssr::cpu::NetworkWeights& network, const ssr::Head& head, const uint8_t* image,
         const ssr::HeadOutputs& outputs) {
  const ssr::cuda::Plan plan = ssr::cuda::MakePlan(network);
  std::vector<float> work(static_cast<size_t>(plan.floats));
  float* w = work.data();
  Layer<true, true>(network.x[0], image, 0, w + plan.x[0]);
  Layer<false, true>(network.s[0], image, 0, w + plan.s[0]);
  for (int b = 1; b < 3; ++b) {
    Layer<true, true>(network.x[b], w + plan.x[b - 1], b, w + plan.x[b]);
    Layer<false, true>(network.s[b], w + plan.s[b - 1], b, w + plan.s[b]);
  }
  Layer<true, false>(network.x[3], w + plan.x[2], 3, w + plan.x[3]);
  Layer<false, false>(network.s[3], w + plan.s[2], 3, w + plan.s[3]);
  for (int k = 0; k < network.num_stages; ++k) {
    const ssr::cpu::StageWeights& stage = network.stages[k];
    const int fusion = network.width_fusion;
    for (int i = 0; i < stage.side * stage.side * fusion; ++i) {
      const int row = i / fusion / stage.side, column = i / fusion % stage.side;
      w[plan.fx[k] + i] =
          FusionOutput<true>(network, stage, w + plan.x[stage.level - 1], row, column, i % fusion);
      w[plan.fs[k] + i] =
          FusionOutput<false>(network, stage, w + plan.s[stage.level - 1], row, column, i % fusion);
    }
    for (int row = 0; row < 1 + 2 * stage.bins; ++row) {
      w[plan.dots[k] + row] = ssr::cuda::DotOutput(network, stage, w + plan.fx[k], w + plan.fs[k], row);
    }
  }
  std::vector<double> scratch(static_cast<size_t>(ssr::HeadWork(head)));
  ssr::FinishHead(head, w + plan.dots[0], scratch.data(), outputs);
}

// p, eta and delta agree within 1e-4 of the largest magnitude (tests/tolerances.py, cuda).
bool Agree(const char* name, const std::vector<float>& found, const std::vector<float>& expected) {
  float scale = 1, worst = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    scale = std::fmax(scale, std::fabs(expected[i]));
    if (!(std::fabs(found[i] - expected[i]) <= worst)) worst = std::fabs(found[i] - expected[i]);
  }
  const bool good = worst <= 1e-4f * scale;
  std::printf("%s: largest difference %g of %g%s\n", name, static_cast<double>(worst),
              static_cast<double>(scale), good ? "" : ": too much");
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s BUNDLE\n", argv[0]), 2;
  std::shared_ptr<const ssr::Model> model;
  std::unique_ptr<ssr::Engine> engine;
  ssr::Status status = ssr::Model::Load(argv[1], &model);
  if (status.ok()) status = ssr::Engine::Create(model, {}, &engine);
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message().c_str()), 1;

  constexpr int kImages = 4;
  std::mt19937 random(1);
  std::vector<uint8_t> pictures(kImages * ssr::kImageBytes);
  for (size_t i = 0; i < pictures.size(); ++i) {  // noise, then ever coarser stripes
    const size_t image = i / ssr::kImageBytes, column = i / 3 % ssr::kImageSize;
    pictures[i] = static_cast<uint8_t>(image == 0 ? random() : (column >> image) % 2 * (200 + random() % 56));
  }
  const size_t bins = static_cast<size_t>(model->architecture.TotalBins());
  const size_t stages = model->architecture.stages.size();
  struct Answers {
    std::vector<float> value, p, eta, delta;
  } ours{std::vector<float>(kImages), std::vector<float>(kImages * bins), std::vector<float>(kImages * bins),
         std::vector<float>(kImages * stages)},
      expected = ours;
  std::vector<const uint8_t*> pointers;
  for (int i = 0; i < kImages; ++i) pointers.push_back(pictures.data() + i * ssr::kImageBytes);
  ssr::Outputs outputs;
  outputs.value = expected.value.data();
  outputs.p = expected.p.data();
  outputs.eta = expected.eta.data();
  outputs.delta = expected.delta.data();
  status = engine->Predict(pointers.data(), kImages, outputs);
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message().c_str()), 1;

  const ssr::cpu::PackedNetwork packed(*model, ssr::Precision::kFp32, /*transformed=*/false);
  const ssr::Head head = ssr::MakeHead(*model);
  for (size_t i = 0; i < kImages; ++i) {
    Run(packed.weights(), head, pointers[i],
        {&ours.value[i], &ours.p[i * bins], &ours.eta[i * bins], &ours.delta[i * stages]});
  }
  bool good = Agree("p", ours.p, expected.p);
  good = Agree("eta", ours.eta, expected.eta) && good;
  good = Agree("delta", ours.delta, expected.delta) && good;
  return good ? 0 : 1;
}
