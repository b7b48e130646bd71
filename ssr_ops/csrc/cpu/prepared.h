// A network packed for one implementation and precision, ready to run.
#pragma once

#include <memory>

#include "cpu/network.h"
#include "ssr/implementation.h"
#include "ssr/model.h"

namespace ssr::cpu {

class Prepared {
 public:
  virtual ~Prepared() = default;

  // image: kImageBytes, any alignment. scratch: scratch_bytes(), on a cache line's border, zero before the
  // first image. dots: see NetworkKernel.
  virtual void Run(const uint8_t* image, float* scratch, float* dots) const = 0;
  virtual int64_t scratch_bytes() const = 0;
};

// isa: one of SupportedIsas(precision).
std::unique_ptr<Prepared> Prepare(const Model& model, Precision precision, Isa isa);

}  // namespace ssr::cpu
