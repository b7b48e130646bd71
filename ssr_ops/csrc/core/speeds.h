// How fast each precision is on this machine: measured once, and kept for the next process.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr {

// Images a second on one core, by PrecisionName; a precision that does not run is left out.
using Speeds = std::map<std::string, double>;

// implementation: as in EngineOptions. kept_in: where they are kept, empty if nowhere. Thread-safe; who comes
// while others measure waits for them. An error only if fp32 does not run.
Status MeasuredSpeeds(const std::shared_ptr<const Model>& model, const std::string& implementation,
                      Speeds* speeds, std::string* kept_in);

}  // namespace ssr
