// Concurrent Predict calls on one engine with helper threads, beside engines that come and go over the same
// model, give the bits of a lone call. Built with SSR_SANITIZE=thread it also shows that nothing races.
// Usage: concurrency_test BUNDLE
#include <atomic>
#include <thread>

#include "core_testing.h"

namespace {

using testing::Kind;
using Rows = std::vector<std::vector<float>>;

constexpr int kImages = 7, kCallers = 4, kRounds = 5, kComers = 2;

struct Check {
  const std::vector<const uint8_t*>& images;
  std::atomic<int> calls{0}, wrong{0};

  // `count` images from `begin` on, against the rows of a lone call.
  void operator()(ssr::Engine* engine, int begin, int count, const Rows& expected) {
    const Rows found = testing::PredictRows(engine, images.data() + begin, count);
    bool good = found.size() == static_cast<size_t>(count);
    for (int i = 0; good && i < count; ++i) {
      good = testing::SameBits(found[static_cast<size_t>(i)], expected[static_cast<size_t>(begin + i)]);
    }
    ++calls;
    if (!good) ++wrong;
  }
};

void Join(std::vector<std::thread>* threads) {
  for (std::thread& thread : *threads) thread.join();
}

// Callers of one engine, while others make an engine of their own, use it and destroy it.
void Share(const std::shared_ptr<const ssr::Model>& model, const Kind& kind, ssr::Engine* engine,
           const Rows& expected, Check* check) {
  std::vector<std::thread> threads;
  for (int caller = 0; caller < kCallers; ++caller) {
    threads.emplace_back([&, caller] {
      for (int round = 0; round < kRounds; ++round) {
        const int begin = (caller + round) % kImages;
        (*check)(engine, begin, kImages - begin, expected);
      }
    });
  }
  for (int comer = 0; comer < kComers; ++comer) {
    threads.emplace_back([&, comer] {
      for (int round = 0; round < kRounds; ++round) {
        const auto own = testing::MakeEngine(model, kind, 1 + (comer + round) % 3);
        if (round > 0) (*check)(own.get(), comer, 2, expected);  // one is destroyed unused
      }
    });
  }
  Join(&threads);
}

// Every thread walks over all engines, so that each follows each on one thread.
void Mix(const std::vector<std::unique_ptr<ssr::Engine>>& engines, const std::vector<Rows>& expected,
         Check* check) {
  std::vector<std::thread> threads;
  for (int caller = 0; caller < kCallers; ++caller) {
    threads.emplace_back([&, caller] {
      const size_t count = engines.size(), step = static_cast<size_t>(caller) + 1;
      for (size_t i = 0; i < 2 * count; ++i) {
        const size_t at = i * step % count;
        (*check)(engines[at].get(), caller, 3, expected[at]);
      }
    });
  }
  Join(&threads);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s BUNDLE\n", argv[0]), 2;
  const std::shared_ptr<const ssr::Model> model = testing::LoadQuantized(argv[1]);
  const std::vector<uint8_t> pictures = testing::Pictures(kImages);
  const std::vector<const uint8_t*> images = testing::Pointers(pictures);
  Check check{images};
  std::vector<std::unique_ptr<ssr::Engine>> engines;
  std::vector<Rows> expected;
  const auto report = [&](const std::string& what) {
    std::printf("%s: %d of %d calls differ\n", what.c_str(), check.wrong.load(), check.calls.load());
    return check.wrong > 0;
  };
  for (const Kind& kind : testing::Kinds(*model)) {
    engines.push_back(testing::MakeEngine(model, kind, 3));
    expected.push_back(testing::PredictRows(engines.back().get(), images.data(), kImages));
    CHECK(expected.back().size() == kImages);
    Share(model, kind, engines.back().get(), expected.back(), &check);
    if (report(kind.Text())) return 1;
  }
  Mix(engines, expected, &check);
  return report("all engines") ? 1 : 0;
}
