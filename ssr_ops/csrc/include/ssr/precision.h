// Which arithmetic answers quickest on this machine, and is close enough to fp32.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "ssr/engine.h"
#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr {

// The name that stands for the choice, in EngineOptions and wherever a precision is asked for.
constexpr const char* kAutoPrecision = "auto";

struct PrecisionChoice {
  Precision precision = Precision::kFp32;
  std::string reason;                    // a sentence without its full stop, for logs
  std::map<std::string, double> speeds;  // images a second on one core, by precision; empty on a GPU
  std::string kept_in;                   // the file that holds them for the next process; empty: none
};

// The quickest precision among fp32 and those that the bundle is quantized for, that this machine runs, and
// whose drift, as the contract records it, keeps the bounds of ssr_bundle/tolerances.py. One of less accuracy
// is taken where it is faster by a twentieth at least. Speeds are measured once a machine and bundle, within
// half a second; they are kept in the folder `precisions` of SSR_CACHE (or XDG_CACHE_HOME/ssr, or
// ~/.cache/ssr), or where that cannot be written to, by the process. Of `options` the device and the
// implementation count; where that has no fp32, nothing is measured.
Status ChoosePrecision(const std::shared_ptr<const Model>& model, const EngineOptions& options,
                       PrecisionChoice* choice);

// What to say to who asked for `precision` by name; empty if it is no slower than fp32 here.
std::string SlowerThanFp32(const PrecisionChoice& choice, const std::string& precision);

}  // namespace ssr
