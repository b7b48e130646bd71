// The tail of the network, from the dense layers' sums to the answer: a few hundred operations in double,
// so that 1 + lambda_width * delta keeps its digits near the denominator floor. One text for CPU and CUDA.
#pragma once

#include <math.h>

#include <cstdint>

#include "ssr/maps.h"

namespace ssr {

// Row-major (out, in) weights as the bundle stores them.
struct HeadStage {
  int bins;  // s_k
  const float *delta_bias, *bins_x_bias, *bins_s_bias;
  const float *mix, *mix_bias;  // (2 s, s)
  const float *p, *p_bias;      // (s, 2 s)
  const float *eta, *eta_bias;  // (s, 2 s)
};

struct Head {
  int num_stages;
  HeadStage stages[kBlocks];
  double value_range, lambda_index, lambda_width, denominator_floor;
  double clip_low, clip_high;
};

// One image's answer; null pointers are skipped.
struct HeadOutputs {
  float* value;  // clipped
  float* p;      // (sum of s_k)
  float* eta;    // (sum of s_k)
  float* delta;  // (K)
};

// Doubles of `work` that FinishHead needs.
SSR_HOST_DEVICE inline int64_t HeadWork(const Head& head) {
  int most = 0;
  for (int k = 0; k < head.num_stages; ++k) most = head.stages[k].bins > most ? head.stages[k].bins : most;
  return 3 * int64_t{most};
}

SSR_HOST_DEVICE inline double DenseRow(const float* weights, const float* bias, int row, const double* in,
                                       int count) {
  double sum = bias[row];
  for (int i = 0; i < count; ++i) sum += static_cast<double>(weights[int64_t{row} * count + i]) * in[i];
  return sum;
}

SSR_HOST_DEVICE inline double Relu(double v) { return v > 0 ? v : 0; }

// dots: for each stage, without biases, the sums of delta, then bins_x, then bins_s (paper Figure 1b);
// then Equation 7.
SSR_HOST_DEVICE inline void FinishHead(const Head& head, const float* dots, double* work,
                                       const HeadOutputs& out) {
  double age = 0, bins_so_far = 1;
  int begin = 0;
  for (int k = 0; k < head.num_stages; ++k) {
    const HeadStage& stage = head.stages[k];
    const int s = stage.bins;
    double *product = work, *mixed = work + s;
    const double delta = tanh(static_cast<double>(dots[0]) + stage.delta_bias[0]);
    for (int i = 0; i < s; ++i) {
      const double x = static_cast<double>(dots[1 + i]) + stage.bins_x_bias[i];
      const double y = static_cast<double>(dots[1 + s + i]) + stage.bins_s_bias[i];
      product[i] = Relu(x) * Relu(y);
    }
    for (int i = 0; i < 2 * s; ++i) mixed[i] = Relu(DenseRow(stage.mix, stage.mix_bias, i, product, s));
    double sum = 0;
    for (int i = 0; i < s; ++i) {
      const double p = Relu(DenseRow(stage.p, stage.p_bias, i, mixed, 2 * s));
      const double eta = tanh(DenseRow(stage.eta, stage.eta_bias, i, mixed, 2 * s));
      sum += p * (i + head.lambda_index * eta);
      if (out.p != nullptr) out.p[begin + i] = static_cast<float>(p);
      if (out.eta != nullptr) out.eta[begin + i] = static_cast<float>(eta);
    }
    const double width = 1 + head.lambda_width * delta;
    bins_so_far *= s * (width > head.denominator_floor ? width : head.denominator_floor);
    age += sum / bins_so_far;
    if (out.delta != nullptr) out.delta[k] = static_cast<float>(delta);
    dots += 1 + 2 * s;
    begin += s;
  }
  age *= head.value_range;
  const double clipped = age < head.clip_low ? head.clip_low : age > head.clip_high ? head.clip_high : age;
  if (out.value != nullptr) *out.value = static_cast<float>(clipped);
}

}  // namespace ssr
