// What benchmarks time in C++: single layers, and multiply-adds alone.
#pragma once

#include <string>
#include <vector>

#include "ssr/engine.h"

namespace ssr {

// Multiply-adds a second of one core under `implementation` and `precision` (as EngineOptions), timed for
// about `seconds`: what benchmarks hold the engine against.
Status MeasureMultiplyAdds(const std::string& implementation, const std::string& precision, double seconds,
                           double* rate);

// Products of whole numbers that an AVX2 core adds up in a second, the best of many looks. way: "words",
// int16; "bytes", by weights of seven bits; "seven bits", both.
Status MeasureProducts(const std::string& way, double seconds, double* rate);

struct LayerTime {
  std::string name;  // of its parameters: "x.0 s.0", "x.1", "s.1", ... "s.3", "stages.0", ...
  double seconds;
};

// Where an engine's time goes: each layer's quickest run on `image` (kImageBytes), in the order that they
// run, timed one after another within whole images for about `seconds`. options: of a CPU engine.
Status TimeLayers(std::shared_ptr<const Model> model, const EngineOptions& options, const uint8_t* image,
                  double seconds, std::vector<LayerTime>* layers);

}  // namespace ssr
