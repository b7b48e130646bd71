// Rows of a shrunk picture, compiled for each instruction set: weighted sums of a part's rows, then means
// along.
//
// All sums are whole numbers that their type holds: bits do not depend on orders or on fused multiply-adds.
//
// A mean, rounded to nearest and halves up, is floor((2 total + area) / (2 area)). That quotient lies
// 1 / (2 area) or more below the next whole number; 1 / (4 area) is added, and whoever errs by less finds the
// right one. total / area + 1 / 2 errs by 3.05e-5 at most in float32, so that areas of up to 8000 are exact;
// in float64 those of up to 2^42.
#include <cstring>

#include "cpu/shrink_kernels.h"

namespace ssr::cpu {
namespace {

template <typename Sum>
void SumRows(const ShrunkRow& row, Sum* __restrict sums) {
  const Part& part = *row.down;
  const uint8_t* __restrict first = row.in + part.first * row.values;
  const auto weight = static_cast<Sum>(part.first_weight);
  if (part.first == part.last) {
    for (int64_t i = 0; i < row.values; ++i) sums[i] = static_cast<Sum>(weight * first[i]);
    return;
  }
  const auto weight_of = [&](int64_t y) {
    return static_cast<Sum>(y == part.last ? part.last_weight : row.down_between);
  };
  const uint8_t* __restrict second = first + row.values;
  const Sum next = weight_of(part.first + 1);
  for (int64_t i = 0; i < row.values; ++i) sums[i] = static_cast<Sum>(weight * first[i] + next * second[i]);
  for (int64_t y = part.first + 2; y <= part.last; ++y) {
    const uint8_t* __restrict more = row.in + y * row.values;
    const Sum by = weight_of(y);
    for (int64_t i = 0; i < row.values; ++i) sums[i] = static_cast<Sum>(sums[i] + by * more[i]);
  }
}

// A mean is trunc(total * factor + offset).
template <typename Real>
struct Rounding {
  explicit Rounding(int64_t area)
      : factor(1 / static_cast<Real>(area)), offset(Real(0.5) + Real(0.25) / static_cast<Real>(area)) {}
  Real factor, offset;
};

// Four values in a register: a pixel's three, and one that nobody needs.
template <typename Sum, typename Real>
void Means(const ShrunkRow& row, const Sum* sums, uint8_t* out) {
  typedef Sum FourSums __attribute__((vector_size(4 * sizeof(Sum))));
  typedef Real Four __attribute__((vector_size(4 * sizeof(Real))));
  typedef int32_t FourInts __attribute__((vector_size(16)));
  const Rounding<Real> rounding(row.area);
  const auto add = [&](int64_t pixel, int32_t weight, Four* total) {
    FourSums four;
    std::memcpy(&four, sums + 3 * pixel, sizeof(four));
    *total += __builtin_convertvector(four, Four) * static_cast<Real>(weight);
  };
  for (int64_t x = 0; x < row.columns; ++x) {
    const Part& part = row.across[x];
    Four total = {};
    add(part.first, part.first_weight, &total);
    for (int64_t i = part.first + 1; i < part.last; ++i) add(i, row.across_between, &total);
    if (part.last > part.first) add(part.last, part.last_weight, &total);
    const FourInts mean = __builtin_convertvector(total * rounding.factor + rounding.offset, FourInts);
    for (int c = 0; c < 3; ++c) *out++ = static_cast<uint8_t>(mean[c]);
  }
}

template <typename Sum, typename Real>
void Shrink(const ShrunkRow& row, void* work, uint8_t* out) {
  auto* const sums = static_cast<Sum*>(work);
  SumRows(row, sums);
  Means<Sum, Real>(row, sums, out);
}

}  // namespace
}  // namespace ssr::cpu
