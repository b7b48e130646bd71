#include "core/speeds.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#ifdef SSR_X86
#include <cpuid.h>
#endif
#include <unistd.h>

#include "core/regular_file.h"
#include "core/strict_json.h"
#include "ssr/engine.h"
#include "ssr/implementation.h"
#include "ssr/sha256.h"

namespace ssr {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kBf16, Precision::kInt8};
constexpr int kTurn = 4;  // images, each timed by itself but for the first, which warms the caches
constexpr int kMostRounds = 40, kLeastRounds = 5;
constexpr double kSeconds = 0.2;         // enough, once there are kLeastRounds
constexpr uint64_t kLongestFile = 4096;  // bytes

// The processor as it names itself, with its family, model and stepping.
std::string Processor() {
  std::string name = "unknown";
#ifdef SSR_X86
  unsigned words[12] = {}, eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(0x80000004, &eax, &ebx, &ecx, &edx) != 0) {
    for (unsigned i = 0; i < 3; ++i) {
      unsigned* const part = words + 4 * i;
      __get_cpuid(0x80000002 + i, part, part + 1, part + 2, part + 3);
    }
    name.assign(reinterpret_cast<const char*>(words), sizeof(words));
    name.erase(std::min(name.find('\0'), name.size()));
  }
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) name += " " + std::to_string(eax);
#endif
  return name;
}

// What the speeds hang on besides the bundle: the processor and the kernels that would run.
std::string Machine(const std::string& implementation) {
  std::string machine = Processor();
  for (const Precision precision : kPrecisions) {
    Isa isa = Isa::kPortable;
    const bool runs = ChooseIsa(implementation, &isa, precision).ok();
    machine += std::string("; ") + PrecisionName(precision) + " " + (runs ? IsaName(isa) : "none");
  }
  return machine;
}

// As ssr_bundle.fetch.cache_dir; empty where the environment names no place.
fs::path CacheFolder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  std::string own = variable("SSR_CACHE");
  const std::string home = variable("HOME"), base = variable("XDG_CACHE_HOME");
  if (own.rfind("~/", 0) == 0 && !home.empty()) own = home + own.substr(1);
  if (!own.empty()) return own;
  if (!base.empty()) return fs::path(base) / "ssr";
  return home.empty() ? fs::path() : fs::path(home) / ".cache" / "ssr";
}

// Whatever is wrong with a file of ours, it is as if it were not there.
bool ReadKept(const fs::path& path, const json& about, Speeds* speeds) {
  RegularFile file;
  if (path.empty() || !file.Open(path.string()).ok() || file.size() > kLongestFile) return false;
  std::string text(file.size(), '\0');
  size_t read = 0;
  json kept;
  if (!file.Read(text.data(), text.size(), &read).ok() || !ParseJson(text, &kept).ok()) return false;
  if (!kept.is_object() || kept.value("about", json()) != about) return false;
  const json found = kept.value("images_per_second", json());
  if (!found.is_object() || !found.contains("fp32")) return false;
  Speeds result;
  for (const auto& [name, speed] : found.items()) {
    if (!speed.is_number() || !(speed.get<double>() > 0) || !std::isfinite(speed.get<double>())) return false;
    result[name] = speed.get<double>();
  }
  *speeds = result;
  return true;
}

// Whole or not at all; says whether.
bool Keep(const fs::path& path, const json& about, const Speeds& speeds) {
  if (path.empty()) return false;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  const fs::path draft = path.string() + "." + std::to_string(getpid());
  {
    std::ofstream out(draft, std::ios::binary);
    out << json{{"about", about}, {"images_per_second", speeds}}.dump(2) << "\n";
    out.close();
    if (!out) {
      fs::remove(draft, error);
      return false;
    }
  }
  fs::rename(draft, path, error);
  if (!error) return true;
  fs::remove(draft, error);
  return false;
}

struct Contestant {
  std::string name;
  std::unique_ptr<Engine> engine;
  double best = 0;  // images a second
};

// Those that run here, fp32 first.
Status Gather(const std::shared_ptr<const Model>& model, const std::string& implementation,
              std::vector<Contestant>* found) {
  for (const Precision precision : kPrecisions) {
    EngineOptions options;
    options.precision = PrecisionName(precision);
    options.implementation = implementation;
    std::unique_ptr<Engine> engine;
    const Status status = Engine::Create(model, options, &engine);
    if (status.ok()) {
      found->push_back({options.precision, std::move(engine)});
    } else if (precision == Precision::kFp32) {
      return status;
    }
  }
  return {};
}

// bf16 without instructions of its own is fp32's kernels on rounded weights, and as fast without measuring.
bool RunsAs(const Contestant& each, const Contestant& fp32) {
  return each.name == PrecisionName(Precision::kBf16) &&
         std::strcmp(each.engine->implementation(), fp32.engine->implementation()) == 0;
}

// The quickest image of many short turns, taken alternately: what other load disturbs least.
Status Measure(const std::shared_ptr<const Model>& model, const std::string& implementation, Speeds* speeds) {
  std::vector<uint8_t> pixels(kImageBytes);
  uint32_t state = 1;
  for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  const uint8_t* const image = pixels.data();
  float answer = 0;
  Outputs outputs;
  outputs.value = &answer;

  std::vector<Contestant> contestants;
  SSR_RETURN_IF_ERROR(Gather(model, implementation, &contestants));
  const Contestant& fp32 = contestants.front();
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const auto begin = Clock::now();
  for (int round = 0; round < kMostRounds; ++round) {
    if (round >= kLeastRounds && since(begin) > kSeconds) break;
    for (Contestant& each : contestants) {
      if (RunsAs(each, fp32)) continue;
      for (int i = 0; i < kTurn; ++i) {
        const auto start = Clock::now();
        SSR_RETURN_IF_ERROR(each.engine->Predict(&image, 1, outputs));
        if (i > 0) each.best = std::max(each.best, 1 / std::max(since(start), 1e-9));
      }
    }
  }
  for (const Contestant& each : contestants) {
    (*speeds)[each.name] = RunsAs(each, fp32) ? fp32.best : each.best;
  }
  return {};
}

}  // namespace

Status MeasuredSpeeds(const std::shared_ptr<const Model>& model, const std::string& implementation,
                      Speeds* speeds, std::string* kept_in) {
  static auto* const mutex = new std::mutex;                     // both outlive every engine
  static auto* const known = new std::map<std::string, Speeds>;  // guarded by *mutex
  const json about = {{"contract_sha256", model->contract_sha256}, {"machine", Machine(implementation)}};
  const std::string text = about.dump(-1, ' ', false, json::error_handler_t::replace);
  const fs::path folder = CacheFolder();
  const fs::path path =
      folder.empty() ? folder : folder / "precisions" / (Sha256Hex(text.data(), text.size()) + ".json");
  const std::lock_guard<std::mutex> lock(*mutex);
  kept_in->clear();
  const auto found = known->find(text);
  if (found != known->end()) {
    *speeds = found->second;
    return {};
  }
  if (ReadKept(path, about, speeds)) {
    *kept_in = path.string();
  } else {
    SSR_RETURN_IF_ERROR(Measure(model, implementation, speeds));
    if (Keep(path, about, *speeds)) *kept_in = path.string();
  }
  (*known)[text] = *speeds;
  return {};
}

}  // namespace ssr
