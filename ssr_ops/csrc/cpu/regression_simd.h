// The operator for stages (3, 3, 3), vectorised over rows: one block is V::kLanes rows, that is nine
// registers each of p and eta and three of delta, worked where they lie. A register set of three holds
// kLanes groups of three neighbours ("flat"); since 3 and kLanes share no factor, splitting it into the
// groups' first, second and third members takes blends by lane and one permutation each.
//
// V (one per instruction set and precision): Lanes, with Index, MakeIndex, Max, Fma, Blend<mask>(a, b): b in
// the lanes of mask, Permute, and ZeroWhereLess(value, a, b): 0 where a < b.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/regression_row.h"

namespace ssr::cpu {
namespace {

constexpr int kStages = 3, kBins = 3, kColumns = kStages * kBins;

// What the compiler's own vector types do in one instruction each.
template <typename Element, int kBytes>
struct Lanes {
  using T = Element;
  typedef T Reg __attribute__((vector_size(kBytes)));
  typedef T Unaligned __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
  static constexpr int kLanes = kBytes / sizeof(T);
  static Reg Load(const T* from) { return *reinterpret_cast<const Unaligned*>(from); }
  static void Store(T* to, Reg value) { *reinterpret_cast<Unaligned*>(to) = value; }
  static Reg Set1(T value) { return value - Reg{}; }
  static Reg Mul(Reg a, Reg b) { return a * b; }
  static Reg Add(Reg a, Reg b) { return a + b; }
  static Reg Div(Reg a, Reg b) { return a / b; }
};

template <class V>
struct Threes {
  using Reg = typename V::Reg;
  static constexpr int kLanes = V::kLanes;
  typename V::Index split[3], join[3], repeat[3];

  Threes() {
    int lanes[kLanes];
    for (int q = 0; q < 3; ++q) {
      for (int j = 0; j < kLanes; ++j) lanes[j] = (3 * j + q) % kLanes;
      split[q] = V::MakeIndex(lanes);
      for (int j = 0; j < kLanes; ++j) lanes[j] = (Register(q, j) * kLanes + j) / 3;
      join[q] = V::MakeIndex(lanes);
      for (int j = 0; j < kLanes; ++j) lanes[j] = (q * kLanes + j) / 3;
      repeat[q] = V::MakeIndex(lanes);
    }
  }

  // The register of a flat set whose lane j holds a member q.
  static constexpr int Register(int q, int j) {
    for (int m = 0; m < 3; ++m) {
      if ((m * kLanes + j) % 3 == q) return m;
    }
    return -1;
  }
  // Lanes whose member q lies in register m; the same as the lanes of register m that hold member q.
  static constexpr unsigned Mask(int q, int m) {
    unsigned mask = 0;
    for (int j = 0; j < kLanes; ++j) mask |= (Register(q, j) == m ? 1u : 0u) << j;
    return mask;
  }

  template <int q>
  Reg Member(const Reg flat[3]) const {
    const Reg two = V::template Blend<Mask(q, 1)>(flat[0], flat[1]);
    return V::Permute(V::template Blend<Mask(q, 2)>(two, flat[2]), split[q]);
  }
  void Split(const Reg flat[3], Reg members[3]) const {
    members[0] = Member<0>(flat);
    members[1] = Member<1>(flat);
    members[2] = Member<2>(flat);
  }

  template <int m>
  static Reg Merge(const Reg placed[3]) {
    const Reg two = V::template Blend<Mask(1, m)>(placed[0], placed[1]);
    return V::template Blend<Mask(2, m)>(two, placed[2]);
  }
  void Join(const Reg members[3], Reg flat[3]) const {
    Reg placed[3];
    for (int q = 0; q < 3; ++q) placed[q] = V::Permute(members[q], join[q]);
    flat[0] = Merge<0>(placed);
    flat[1] = Merge<1>(placed);
    flat[2] = Merge<2>(placed);
  }
};

template <class V>
class Block {
 public:
  using T = typename V::T;
  using Reg = typename V::Reg;
  static constexpr int kLanes = V::kLanes;

  explicit Block(const RegressionShape& shape) : c_(MakeRowConstants<T>(shape)) {
    T bins[kLanes];
    for (int m = 0; m < 3; ++m) {
      for (int j = 0; j < kLanes; ++j) bins[j] = static_cast<T>((m * kLanes + j) % 3);
      bin_[m] = V::Load(bins);
    }
    lambda_index_ = V::Set1(c_.lambda_index);
    lambda_width_ = V::Set1(c_.lambda_width);
    lambda_width_error_ = V::Set1(c_.lambda_width_error);
    floor_ = V::Set1(c_.floor);
    value_range_ = V::Set1(c_.value_range);
    one_ = V::Set1(1);
    bins_ = V::Set1(kBins);
  }

  // p, eta: kLanes rows of 9; delta: kLanes rows of 3; age: kLanes.
  void Forward(const T* p, const T* eta, const T* delta, T* age) const {
    Reg dot[3], width[3], scale[3];
    Dots(p, eta, dot);
    Widths(delta, width);
    Scales(width, scale);
    Reg sum = V::Mul(dot[0], scale[0]);
    sum = V::Fma(dot[1], scale[1], sum);
    sum = V::Fma(dot[2], scale[2], sum);
    V::Store(age, V::Mul(value_range_, sum));
  }

  // The gradients lie as p, eta and delta do.
  void Backward(const T* p, const T* eta, const T* delta, Reg grad_age, T* grad_p, T* grad_eta,
                T* grad_delta) const {
    Reg dot[3], width[3], scale[3], shares[3], flat[3];
    Dots(p, eta, dot);
    Widths(delta, width);
    Scales(width, scale);
    const Reg upstream = V::Mul(grad_age, value_range_);
    Reg suffix = V::Set1(0);
    const Reg pull = V::Mul(V::Mul(V::Set1(-1), upstream), lambda_width_);
    Reg pulls[3];
    for (int k = kStages - 1; k >= 0; --k) {
      shares[k] = V::Mul(upstream, scale[k]);
      suffix = V::Fma(dot[k], scale[k], suffix);
      pulls[k] = V::ZeroWhereLess(V::Div(V::Mul(pull, suffix), width[k]), width[k], floor_);
    }
    if (grad_delta != nullptr) {
      threes_.Join(pulls, flat);
      for (int m = 0; m < 3; ++m) V::Store(grad_delta + m * kLanes, flat[m]);
    }
    if (grad_p == nullptr && grad_eta == nullptr) return;
    threes_.Join(shares, flat);
    for (int g = 0; g < 3; ++g) {
      for (int m = 0; m < 3; ++m) {
        const int at = (g * 3 + m) * kLanes;
        const Reg share = V::Permute(flat[g], threes_.repeat[m]);
        if (grad_p != nullptr) {
          V::Store(grad_p + at, V::Mul(share, V::Fma(lambda_index_, V::Load(eta + at), bin_[m])));
        }
        if (grad_eta != nullptr) {
          V::Store(grad_eta + at, V::Mul(V::Mul(share, lambda_index_), V::Load(p + at)));
        }
      }
    }
  }

 private:
  void Dots(const T* p, const T* eta, Reg dot[3]) const {
    Reg flat[3];
    for (int g = 0; g < 3; ++g) {
      Reg products[3], members[3];
      for (int m = 0; m < 3; ++m) {
        const int at = (g * 3 + m) * kLanes;
        products[m] = V::Mul(V::Load(p + at), V::Fma(lambda_index_, V::Load(eta + at), bin_[m]));
      }
      threes_.Split(products, members);
      flat[g] = V::Add(V::Add(members[0], members[1]), members[2]);
    }
    threes_.Split(flat, dot);
  }

  // 1 + lambda_width * delta, before the floor.
  void Widths(const T* delta, Reg width[3]) const {
    Reg flat[3];
    for (int m = 0; m < 3; ++m) {
      const Reg d = V::Load(delta + m * kLanes);
      flat[m] = V::Fma(lambda_width_, d, one_);
      if (c_.lambda_width_error != 0) flat[m] = V::Fma(lambda_width_error_, d, flat[m]);
    }
    threes_.Split(flat, width);
  }

  // 1 / prod_{j<=k} s_j d_j.
  void Scales(const Reg width[3], Reg scale[3]) const {
    for (int k = 0; k < kStages; ++k) {
      scale[k] = V::Div(one_, V::Mul(bins_, V::Max(floor_, width[k])));
      if (k > 0) scale[k] = V::Mul(scale[k], scale[k - 1]);
    }
  }

  RowConstants<T> c_;
  Threes<V> threes_;
  Reg bin_[3];
  Reg lambda_index_, lambda_width_, lambda_width_error_, floor_, value_range_, one_, bins_;
};

template <typename T>
bool Contiguous(const Matrix<T>& m, int columns) {
  return m.column_stride == 1 && m.row_stride == columns;
}

// `rows` rows from `begin` on, to kLanes * columns packed elements; the rest are zeros.
template <int kLanes, typename T>
void Pack(const Matrix<const T>& m, int columns, int64_t begin, int rows, T* out) {
  std::memset(out, 0, sizeof(T) * kLanes * columns);
  for (int r = 0; r < rows; ++r) {
    const T* row = m.data + (begin + r) * m.row_stride;
    for (int i = 0; i < columns; ++i) {
      std::memcpy(out + r * columns + i, row + i * m.column_stride, sizeof(T));
    }
  }
}

template <typename T>
void Unpack(const T* packed, int columns, int64_t begin, int rows, const Matrix<T>& m) {
  if (m.data == nullptr) return;
  for (int r = 0; r < rows; ++r) {
    T* row = m.data + (begin + r) * m.row_stride;
    for (int i = 0; i < columns; ++i) {
      std::memcpy(row + i * m.column_stride, packed + r * columns + i, sizeof(T));
    }
  }
}

// One block's inputs: where they lie when they can be read in place, else packed on the stack.
template <class V>
struct Inputs {
  using T = typename V::T;
  static constexpr int kLanes = V::kLanes;
  T packed_p[kLanes * kColumns], packed_eta[kLanes * kColumns], packed_delta[kLanes * kStages];
  const T *p, *eta, *delta;

  template <class Params>
  void Set(const Params& params, bool in_place, int64_t begin, int rows) {
    if (in_place && rows == kLanes) {
      p = params.p.data + begin * kColumns;
      eta = params.eta.data + begin * kColumns;
      delta = params.delta.data + begin * kStages;
      return;
    }
    Pack<kLanes>(params.p, kColumns, begin, rows, packed_p);
    Pack<kLanes>(params.eta, kColumns, begin, rows, packed_eta);
    Pack<kLanes>(params.delta, kStages, begin, rows, packed_delta);
    p = packed_p, eta = packed_eta, delta = packed_delta;
  }
};

// F, D: the V of float and of double.
template <class F, class D, typename T>
void RegressBlocks(const RegressionForward<T>& params) {
  using V = std::conditional_t<sizeof(T) == sizeof(float), F, D>;
  constexpr int kLanes = V::kLanes;
  const Block<V> block(params.shape);
  const bool in_place =
      Contiguous(params.p, kColumns) && Contiguous(params.eta, kColumns) && Contiguous(params.delta, kStages);
  Inputs<V> in;
  T packed_age[kLanes];
  for (int64_t begin = 0; begin < params.rows; begin += kLanes) {
    const int rows = params.rows - begin < kLanes ? static_cast<int>(params.rows - begin) : kLanes;
    in.Set(params, in_place, begin, rows);
    const bool direct = rows == kLanes && params.age_stride == 1;
    block.Forward(in.p, in.eta, in.delta, direct ? params.age + begin : packed_age);
    if (!direct) Unpack(packed_age, 1, begin, rows, Matrix<T>{params.age, params.age_stride, 1});
  }
}

template <class F, class D, typename T>
void RegressBlocks(const RegressionBackward<T>& params) {
  using V = std::conditional_t<sizeof(T) == sizeof(float), F, D>;
  constexpr int kLanes = V::kLanes;
  const Block<V> block(params.shape);
  const bool in_place =
      Contiguous(params.p, kColumns) && Contiguous(params.eta, kColumns) && Contiguous(params.delta, kStages);
  const bool direct = (params.grad_p.data == nullptr || Contiguous(params.grad_p, kColumns)) &&
                      (params.grad_eta.data == nullptr || Contiguous(params.grad_eta, kColumns)) &&
                      (params.grad_delta.data == nullptr || Contiguous(params.grad_delta, kStages));
  Inputs<V> in;
  T grad_age[kLanes], grad_p[kLanes * kColumns], grad_eta[kLanes * kColumns], grad_delta[kLanes * kStages];
  for (int64_t begin = 0; begin < params.rows; begin += kLanes) {
    const int rows = params.rows - begin < kLanes ? static_cast<int>(params.rows - begin) : kLanes;
    in.Set(params, in_place, begin, rows);
    Pack<kLanes>(Matrix<const T>{params.grad_age, params.grad_age_stride, 1}, 1, begin, rows, grad_age);
    if (direct && rows == kLanes) {
      const auto at = [begin](const Matrix<T>& m, int columns) {
        return m.data == nullptr ? nullptr : m.data + begin * columns;
      };
      block.Backward(in.p, in.eta, in.delta, V::Load(grad_age), at(params.grad_p, kColumns),
                     at(params.grad_eta, kColumns), at(params.grad_delta, kStages));
      continue;
    }
    block.Backward(in.p, in.eta, in.delta, V::Load(grad_age), grad_p, grad_eta, grad_delta);
    Unpack(grad_p, kColumns, begin, rows, params.grad_p);
    Unpack(grad_eta, kColumns, begin, rows, params.grad_eta);
    Unpack(grad_delta, kStages, begin, rows, params.grad_delta);
  }
}

}  // namespace
}  // namespace ssr::cpu
