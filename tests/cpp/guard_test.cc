// Nothing is read or written beyond an image, an output, or the engine's own weights and scratch: all of them
// end at, or begin after, a page that faults. This sees what AddressSanitizer does not: masked and tile
// loads, and loads in assembly. Usage: guard_test BUNDLE
#include <cstdint>

#include "core_testing.h"
#include "guarded.h"

namespace {

constexpr int kImages = 5;

class Test {
 public:
  Test(std::shared_ptr<const ssr::Model> model, const testing::Kind& kind, int threads)
      : model_(std::move(model)),
        kind_(kind),
        pictures_(testing::Pictures(kImages)),
        engine_(testing::MakeEngine(model_, kind, threads)) {
    const std::vector<const uint8_t*> images = testing::Pointers(pictures_);
    const auto other = testing::MakeEngine(model_, kind, threads);  // its memory held other bytes before
    expected_ = testing::PredictRows(other.get(), images.data(), kImages);
    CHECK(expected_.size() == kImages);
  }

  // One picture a faulting page, `gap` bytes from it, in one call of each size; outputs at the end of theirs.
  void Run(Guarded::At at, size_t gap) {
    std::vector<std::unique_ptr<Guarded>> held;
    std::vector<const uint8_t*> images;
    for (int i = 0; i < kImages; ++i) {
      const uint8_t* from = pictures_.data() + i * ssr::kImageBytes;
      held.push_back(std::make_unique<Guarded>(from, static_cast<size_t>(ssr::kImageBytes), at, gap));
      images.push_back(held.back()->data());
    }
    for (int n = 1; n <= kImages; ++n) {
      const size_t bytes = static_cast<size_t>(n) * testing::Row(*model_) * sizeof(float);
      const Guarded room(bytes, Guarded::At::kEnd);
      float* floats = reinterpret_cast<float*>(room.data());
      testing::Check(testing::PredictInto(engine_.get(), images.data(), n, floats));
      const auto found = testing::Rows(*model_, floats, n);
      for (size_t i = 0; i < found.size(); ++i) Compare(found[i], i, gap);
      if (gap > 0) break;
    }
  }

  // Each output alone at the end of its pages.
  void RunOutputs() {
    const std::vector<const uint8_t*> images = testing::Pointers(pictures_);
    const size_t bins = static_cast<size_t>(model_->architecture.TotalBins()), n = 3;
    const Guarded value(n * sizeof(float), Guarded::At::kEnd), p(n * bins * sizeof(float), Guarded::At::kEnd),
        eta(n * bins * sizeof(float), Guarded::At::kEnd),
        delta(n * model_->architecture.stages.size() * sizeof(float), Guarded::At::kEnd);
    ssr::Outputs outputs;
    outputs.value = reinterpret_cast<float*>(value.data());
    outputs.p = reinterpret_cast<float*>(p.data());
    outputs.eta = reinterpret_cast<float*>(eta.data());
    outputs.delta = reinterpret_cast<float*>(delta.data());
    testing::Check(engine_->Predict(images.data(), static_cast<int64_t>(n), outputs));
    for (size_t i = 0; i < n; ++i) CHECK(outputs.value[i] == expected_[i][0]);
  }

 private:
  void Compare(const std::vector<float>& found, size_t image, size_t gap) const {
    if (testing::SameBits(found, expected_[image])) return;
    std::fprintf(stderr, "%s: image %zu, %zu bytes from a page's border, has other bits\n",
                 kind_.Text().c_str(), image, gap);
    std::exit(1);
  }

  const std::shared_ptr<const ssr::Model> model_;
  const testing::Kind kind_;
  std::vector<uint8_t> pictures_;
  const std::unique_ptr<ssr::Engine> engine_;
  std::vector<std::vector<float>> expected_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s BUNDLE\n", argv[0]), 2;
  const std::shared_ptr<const ssr::Model> model = testing::LoadQuantized(argv[1]);
  for (const testing::Kind& kind : testing::Kinds(*model)) {
    const int before = guarded_blocks;
    Test test(model, kind, 1);
    CHECK(guarded_blocks > before);  // else the engine's arrays come from elsewhere, and are not watched
    for (const Guarded::At at : {Guarded::At::kBegin, Guarded::At::kEnd}) {
      for (const size_t gap : {0, 1, 2, 3, 7, 16, 33, 63}) test.Run(at, gap);
    }
    test.RunOutputs();
    std::printf("%s: nothing outside, same bits at every place\n", kind.Text().c_str());
  }
  return 0;
}
