#include "cpu/shrink.inl.h"

namespace ssr::cpu {

const ShrinkKernels& ShrinkPortable() {
  static constexpr ShrinkKernels kKernels = {Shrink<float, float>, Shrink<float, double>,
                                             Shrink<double, double>};
  return kKernels;
}

}  // namespace ssr::cpu
