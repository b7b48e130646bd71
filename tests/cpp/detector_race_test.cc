// Concurrent Detect calls on one detector with helper threads, beside detectors that come and go over the
// same model, give the bits of a lone call. Built with SSR_SANITIZE=thread it also shows that nothing races.
// Usage: detector_race_test BUNDLE
#include <atomic>
#include <thread>

#include "detector_testing.h"

namespace {

constexpr int kCallers = 4, kComers = 2, kRounds = 3;

int Share(const std::shared_ptr<const ssr::DetectorModel>& model, ssr::Isa isa) {
  std::vector<testing::Picture> pictures;
  for (unsigned i = 0; i < 3; ++i) pictures.emplace_back(64 + 40 * i, 150 - 30 * i, i);
  const auto shared = testing::MakeDetector(model, isa, 3);
  std::vector<std::vector<float>> expected;
  for (const testing::Picture& picture : pictures) {
    expected.push_back(testing::Found(shared.get(), picture.Frame()));
    CHECK(!expected.back().empty());
  }
  std::atomic<int> wrong{0};
  const auto check = [&](ssr::Detector* detector, size_t at) {
    if (!testing::SameBits(testing::Found(detector, pictures[at].Frame()), expected[at])) ++wrong;
  };
  std::vector<std::thread> threads;
  for (size_t caller = 0; caller < kCallers; ++caller) {
    threads.emplace_back([&, caller] {
      for (size_t round = 0; round < kRounds; ++round) check(shared.get(), (caller + round) % 3);
    });
  }
  for (size_t comer = 0; comer < kComers; ++comer) {
    threads.emplace_back([&, comer] {
      for (size_t round = 0; round < kRounds; ++round) {
        const auto own = testing::MakeDetector(model, isa, 1 + static_cast<int>((comer + round) % 3));
        if (round > 0) check(own.get(), comer);  // one is destroyed unused
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return wrong;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s BUNDLE\n", argv[0]), 2;
  const std::shared_ptr<const ssr::DetectorModel> model = testing::LoadDetector(argv[1]);
  int wrong = 0;
  for (const ssr::Isa isa : ssr::SupportedIsas()) wrong += Share(model, isa);
  std::printf("all detectors: %d calls differ\n", wrong);
  return wrong > 0 ? 1 : 0;
}
