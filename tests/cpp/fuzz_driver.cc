// Runs the bundle reader's fuzz target on mutants of given bundles: any compiler with sanitizers will do.
// Iteration i of a seed is the same on every machine, whatever ran before it.
// Usage: bundle_fuzz_driver [--seed S] [--iterations N] [--seconds T] [--only I] [--corpus DIR] BUNDLE...
// --only: one iteration, to see a fault again. --corpus: write the unchanged bundles as libFuzzer's inputs.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "bundle_mutator.h"

extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));

namespace {

unsigned long long seed = 1, iteration = 0;

void SayWhere() { std::fprintf(stderr, "in iteration %llu of seed %llu\n", iteration, seed); }

void OnAbort(int) {
  SayWhere();
  std::_Exit(1);
}

// Iteration i: the first ones are the bundles themselves, refitted networks and then mutants follow.
fuzz::Input Make(const std::vector<fuzz::Input>& bundles) {
  if (iteration < bundles.size()) return bundles[iteration];
  fuzz::Random random(seed * 1000003 + iteration);
  fuzz::Input input = bundles[random() % bundles.size()];
  const size_t other = random() % bundles.size(), changes = random() % 4;
  for (size_t i = 0; i < changes; ++i) fuzz::Mutate(&random, bundles[other], &input);
  if (changes == 0) fuzz::Refit(&random, &input);
  return input;
}

void Run(const std::vector<fuzz::Input>& bundles) {
  const std::string bytes = fuzz::Pack(Make(bundles));
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

int Fuzz(const std::vector<fuzz::Input>& bundles, unsigned long long iterations, double seconds) {
  const auto begin = std::chrono::steady_clock::now();
  double spent = 0;
  for (iteration = 0; iteration < iterations && spent < seconds; ++iteration) {
    Run(bundles);
    if (iteration + 1 == bundles.size() &&
        fuzz::reached[fuzz::kAnswered] != static_cast<long>(bundles.size())) {
      return std::fprintf(stderr, "the bundles themselves are refused: there is nothing to fuzz\n"), 1;
    }
    spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  std::printf("seed %llu: %llu iterations in %.1f s; refused by", seed, iteration, spent);
  bool all = true;
  for (int depth = 0; depth < fuzz::kDepths; ++depth) {
    std::printf("%s%s %ld",
                depth == fuzz::kAnswered ? "; "
                : depth > 0              ? ", "
                                         : " ",
                fuzz::kDepthNames[depth], fuzz::reached[depth]);
    all = all && fuzz::reached[depth] > 0;
  }
  std::printf("\n");
  if (!all) std::fprintf(stderr, "a depth that no input reached is not tested\n");
  return all ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long long iterations = ~0ull;
  double seconds = 1e9;
  bool only = false;
  std::string corpus;
  std::vector<fuzz::Input> bundles;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (argument.rfind("--", 0) == 0 && value == nullptr) {
      return std::fprintf(stderr, "%s needs a value\n", argv[i]), 2;
    }
    if (argument == "--seed") {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (argument == "--iterations") {
      iterations = std::strtoull(argv[++i], nullptr, 10);
    } else if (argument == "--seconds") {
      seconds = std::strtod(argv[++i], nullptr);
    } else if (argument == "--only") {
      iteration = std::strtoull(argv[++i], nullptr, 10);
      only = true;
    } else if (argument == "--corpus") {
      corpus = argv[++i];
    } else if (argument.rfind("--", 0) == 0) {
      return std::fprintf(stderr, "unknown option %s\n", argv[i]), 2;
    } else {
      bundles.push_back(fuzz::ReadSeed(argument));
    }
  }
  if (bundles.empty()) return std::fprintf(stderr, "usage: %s [options] BUNDLE...\n", argv[0]), 2;
  for (size_t i = 0; !corpus.empty() && i < bundles.size(); ++i) {
    std::ofstream(corpus + "/bundle" + std::to_string(i), std::ios::binary) << fuzz::Pack(bundles[i]);
  }
  if (!corpus.empty()) return 0;
  std::signal(SIGABRT, OnAbort);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(SayWhere);
  if (only) return Run(bundles), 0;
  return Fuzz(bundles, iterations, seconds);
}
