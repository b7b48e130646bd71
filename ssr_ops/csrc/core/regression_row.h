// Soft stagewise regression of one row, forward and backward: the body that the portable CPU kernel
// and the CUDA kernel share. `A` is the type of the arithmetic, `Row` gives access to one row's values.
#pragma once

#include "ssr/params.h"

#ifdef __CUDACC__
#define SSR_ROW __host__ __device__ __forceinline__
#else
#define SSR_ROW inline
#endif

namespace ssr {

// What every entry point refuses, CPU and CUDA alike.
template <class Params>
Status CheckRegression(const Params& params);

// Internal to each translation unit: files with different instruction sets must not share code.
namespace {

// The constants of RegressionShape in the type of the arithmetic. lambda_width keeps the rounding
// error of its conversion: near the floor 1 + lambda_width * delta cancels, and the error would grow.
template <typename A>
struct RowConstants {
  int num_stages;
  int stages[kMaxStages];
  A value_range, lambda_index, lambda_width, lambda_width_error, floor;
};

template <typename A>
inline RowConstants<A> MakeRowConstants(const RegressionShape& shape) {
  RowConstants<A> c = {};
  c.num_stages = shape.num_stages;
  for (int k = 0; k < shape.num_stages; ++k) c.stages[k] = shape.stages[k];
  c.value_range = static_cast<A>(shape.value_range);
  c.lambda_index = static_cast<A>(shape.lambda_index);
  c.lambda_width = static_cast<A>(shape.lambda_width);
  c.lambda_width_error = static_cast<A>(shape.lambda_width - static_cast<double>(c.lambda_width));
  c.floor = static_cast<A>(shape.denominator_floor);
  return c;
}

// How many stages and bins: read from the constants, or known at compile time.
struct AnyStages {
  static constexpr int kCapacity = kMaxStages;
  template <typename A>
  static SSR_ROW int Count(const RowConstants<A>& c) {
    return c.num_stages;
  }
  template <typename A>
  static SSR_ROW int Bins(const RowConstants<A>& c, int k) {
    return c.stages[k];
  }
};

template <int kCount, int kBins>
struct EqualStages {
  static constexpr int kCapacity = kCount;
  template <typename A>
  static SSR_ROW constexpr int Count(const RowConstants<A>&) {
    return kCount;
  }
  template <typename A>
  static SSR_ROW constexpr int Bins(const RowConstants<A>&, int) {
    return kBins;
  }
};

inline bool HasEqualStages(const RegressionShape& shape, int count, int bins) {
  if (shape.num_stages != count) return false;
  for (int k = 0; k < count; ++k) {
    if (shape.stages[k] != bins) return false;
  }
  return true;
}

// 1 + lambda_width * delta, before the floor.
template <typename A>
SSR_ROW A Width(const RowConstants<A>& c, A delta) {
  A width = A(1) + c.lambda_width * delta;
  if (c.lambda_width_error != A(0)) width += c.lambda_width_error * delta;
  return width;
}

// max(width, floor) that lets NaN through.
template <typename A>
SSR_ROW A Floored(const RowConstants<A>& c, A width) {
  return width < c.floor ? c.floor : width;
}

// Row: A P(int i), A Eta(int i), A Delta(int k).
template <class Stages, typename A, class Row>
SSR_ROW A RegressRow(const RowConstants<A>& c, const Row& row) {
  A age = 0, scale = 1;
  int begin = 0;
  for (int k = 0; k < Stages::Count(c); ++k) {
    const int bins = Stages::Bins(c, k);
    A dot = 0;
    for (int i = 0; i < bins; ++i) dot += row.P(begin + i) * (A(i) + c.lambda_index * row.Eta(begin + i));
    scale /= A(bins) * Floored(c, Width(c, row.Delta(k)));
    age += dot * scale;
    begin += bins;
  }
  return c.value_range * age;
}

// Row: as above, and SetP(int i, A), SetEta(int i, A), SetDelta(int k, A), which may overwrite the
// input of the same index. The gradient to delta is zero strictly below the floor, and passes at it.
template <class Stages, typename A, class Row>
SSR_ROW void RegressRowBackward(const RowConstants<A>& c, A grad_age, Row& row) {
  A term[Stages::kCapacity], scale[Stages::kCapacity];
  A product = 1;
  int begin = 0;
  for (int k = 0; k < Stages::Count(c); ++k) {
    const int bins = Stages::Bins(c, k);
    A dot = 0;
    for (int i = 0; i < bins; ++i) dot += row.P(begin + i) * (A(i) + c.lambda_index * row.Eta(begin + i));
    product /= A(bins) * Floored(c, Width(c, row.Delta(k)));
    scale[k] = product;
    term[k] = dot * product;
    begin += bins;
  }
  const A upstream = grad_age * c.value_range;
  A suffix = 0;
  for (int k = Stages::Count(c) - 1; k >= 0; --k) {
    const int bins = Stages::Bins(c, k);
    begin -= bins;
    const A share = upstream * scale[k];
    for (int i = 0; i < bins; ++i) {
      const A grad_p = share * (A(i) + c.lambda_index * row.Eta(begin + i));
      const A grad_eta = share * c.lambda_index * row.P(begin + i);
      row.SetP(begin + i, grad_p);
      row.SetEta(begin + i, grad_eta);
    }
    suffix += term[k];
    const A width = Width(c, row.Delta(k));
    row.SetDelta(k, width < c.floor ? A(0) : -upstream * c.lambda_width * suffix / width);
  }
}

}  // namespace
}  // namespace ssr
