#include "ssr/precision.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/speeds.h"

namespace ssr {
namespace {

constexpr Precision kQuantized[] = {Precision::kBf16, Precision::kInt8};

// How much faster than a more accurate precision one must be.
constexpr double kWorth = 1.05;
// Below this much of fp32's speed a precision is called slower: the rest is noise.
constexpr double kNoSlower = 0.98;

constexpr double kUnbounded = std::numeric_limits<double>::infinity();

// The rows "native" of REQUIRED, in years at V = 101, and PROBABILITY, of ssr_bundle/tolerances.py; a test
// holds them to it.
Drift Bounds(const Model& model, Precision precision) {
  Drift bounds{kUnbounded, kUnbounded, kUnbounded, kUnbounded};
  double scale = 1;
  const auto& [before, after] = model.recalibration;
  for (size_t i = 1; i < before.size(); ++i) {
    scale = std::max(scale, (after[i] - after[i - 1]) / (before[i] - before[i - 1]));
  }
  const bool int8 = precision == Precision::kInt8;
  if (model.output_unit == "probability") {
    (int8 ? bounds.p99 : bounds.max) = int8 ? 0.10 : 0.05;
  } else {
    scale *= model.architecture.value_range / 101;
    bounds = int8 ? Drift{0.40, 0.20, 1.75, kUnbounded} : Drift{0.10, kUnbounded, kUnbounded, 0.75};
  }
  return {bounds.mean * scale, bounds.signed_mean * scale, bounds.p99 * scale, bounds.max * scale};
}

std::string Text(double value, const char* format) {
  char text[32];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

// Why the bundle's own record keeps `precision` from being taken; empty if it does not.
std::string Withheld(const Model& model, Precision precision) {
  const auto found = model.quantization->drift.find(PrecisionName(precision));
  if (found == model.quantization->drift.end()) return "its contract states no drift";
  const Drift &drift = found->second, bounds = Bounds(model, precision);
  const struct {
    const char* name;
    double size, bound;
  } held[] = {{"mean", drift.mean, bounds.mean},
              {"signed mean", std::fabs(drift.signed_mean), bounds.signed_mean},
              {"99th percentile", drift.p99, bounds.p99},
              {"max", drift.max, bounds.max}};
  for (const auto& [name, size, bound] : held) {
    if (size > bound) {
      return std::string("its drift has ") + name + " " + Text(size, "%.3g") + ", allowed " +
             Text(bound, "%.3g");
    }
  }
  return "";
}

double SpeedOf(const Speeds& speeds, Precision precision) {
  const auto found = speeds.find(PrecisionName(precision));
  return found == speeds.end() ? 0 : found->second;
}

}  // namespace

Status ChoosePrecision(const std::shared_ptr<const Model>& model, const EngineOptions& options,
                       PrecisionChoice* choice) {
  *choice = {};
  if (options.device != "cpu") {
    choice->reason = "the GPU has no other";
    return {};
  }
  if (!model->quantization) {
    choice->reason = "the bundle is not quantized";
    return {};
  }
  Isa isa = Isa::kPortable;
  if (!ChooseIsa(options.implementation, &isa).ok()) {  // amx, say, which has no fp32
    choice->reason = "the implementation asked for has no fp32 to compare with";
    return {};
  }
  SSR_RETURN_IF_ERROR(MeasuredSpeeds(model, options.implementation, &choice->speeds, &choice->kept_in));
  const double fp32 = SpeedOf(choice->speeds, Precision::kFp32);
  double best = fp32;
  std::string ratios, withheld;
  for (const Precision precision : kQuantized) {
    const std::string name = PrecisionName(precision);
    const double speed = SpeedOf(choice->speeds, precision);
    if (speed <= 0) {
      withheld += "; no " + name + " runs here";
      continue;
    }
    ratios += (ratios.empty() ? "" : ", ") + name + " " + Text(speed / fp32, "%.2f");
    const std::string why = Withheld(*model, precision);
    if (!why.empty()) {
      withheld += "; " + name + " is left out: " + why;
    } else if (speed >= kWorth * best) {
      best = speed;
      choice->precision = precision;
    }
  }
  choice->reason = (ratios.empty() ? "" : "measured on this machine, times fp32: " + ratios) + withheld;
  if (ratios.empty()) choice->reason.erase(0, 2);
  return {};
}

std::string SlowerThanFp32(const PrecisionChoice& choice, const std::string& precision) {
  const auto speed = choice.speeds.find(precision), fp32 = choice.speeds.find("fp32");
  if (speed == choice.speeds.end() || fp32 == choice.speeds.end()) return "";
  if (speed->second >= kNoSlower * fp32->second) return "";
  return precision + " has " + Text(speed->second / fp32->second, "%.2f") +
         " of fp32's speed on this machine; precision auto takes the quickest";
}

}  // namespace ssr
