// The CUDA kernels and their launches, run on the CPU (cuda_on_cpu/cuda_runtime.h) under sanitizers: the
// operator against the portable kernel, the network against the CPU engine, and every runtime call failing.
// Usage: cuda_on_cpu_test BUNDLE
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "core/engines.h"
#include "core_testing.h"
#include "ssr/params.h"

namespace {

constexpr int64_t kRows[] = {0, 1, 255, 256, 257, 700};
enum class Layout { kPacked, kShifted, kColumns };

// A matrix in memory of exactly its size (one element more where it is shifted off its alignment).
template <typename T>
struct Values {
  std::vector<T> memory;
  Layout layout;
  int64_t rows, columns;

  Values(int64_t rows_, int64_t columns_, Layout layout_)
      : memory(static_cast<size_t>(rows_ * columns_ + (layout_ == Layout::kShifted ? 1 : 0)), T(NAN)),
        layout(layout_),
        rows(rows_),
        columns(columns_) {}
  T* data() { return memory.data() + (layout == Layout::kShifted ? 1 : 0); }
  T& at(int64_t row, int64_t column) {
    return layout == Layout::kColumns ? data()[column * rows + row] : data()[row * columns + column];
  }
  template <typename U>
  ssr::Matrix<U> matrix() {
    if (layout == Layout::kColumns) return {data(), 1, rows};
    return {data(), columns, 1};
  }
};

template <typename T>
struct Inputs {
  Values<T> p, eta, delta;
  Inputs(int64_t rows, int64_t bins, int64_t stages, Layout layout)
      : p(rows, bins, layout), eta(rows, bins, layout), delta(rows, stages, layout) {
    std::mt19937 random(static_cast<unsigned>(rows + bins));
    std::uniform_real_distribution<T> from(-1, 1);
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t i = 0; i < bins; ++i) p.at(n, i) = std::fabs(from(random)), eta.at(n, i) = from(random);
      for (int64_t k = 0; k < stages; ++k) delta.at(n, k) = from(random) / 2;
      if (n % 3 == 0) delta.at(n, n % stages) = T(-1);  // below the floor
    }
  }
};

// Largest difference of a row over its largest value, over all rows. NaN, as where nothing was written,
// counts as infinite.
template <typename T>
double Difference(Values<T>& found, Values<T>& expected) {
  double worst = 0;
  for (int64_t n = 0; n < found.rows; ++n) {
    double scale = 1e-30, most = 0;
    for (int64_t i = 0; i < found.columns; ++i) {
      scale = std::fmax(scale, std::fabs(static_cast<double>(expected.at(n, i))));
      const double difference = std::fabs(static_cast<double>(found.at(n, i) - expected.at(n, i)));
      most = std::isnan(difference) ? INFINITY : std::fmax(most, difference);
    }
    worst = std::fmax(worst, most / scale);
  }
  return worst;
}

template <typename T>
ssr::RegressionShape Shape(const std::vector<int>& stages) {
  ssr::RegressionShape shape;
  shape.num_stages = static_cast<int>(stages.size());
  for (size_t k = 0; k < stages.size(); ++k) shape.stages[k] = stages[k];
  shape.value_range = 101;
  shape.lambda_index = 0.9;
  shape.lambda_width = 1.1;
  return shape;
}

// The same text runs on both sides; what differs is how a compiler contracts multiply-adds. Gradients to
// delta divide by widths near zero.
template <typename T>
constexpr double kBound = sizeof(T) == 4 ? 2e-5 : 1e-13;

template <typename T>
void CheckForward(const std::vector<int>& stages, int64_t bins, int64_t rows, Layout layout) {
  Inputs<T> in(rows, bins, static_cast<int64_t>(stages.size()), layout);
  Values<T> found(rows, 1, Layout::kPacked), expected(rows, 1, Layout::kPacked), scale = expected;
  ssr::RegressionForward<T> params;
  params.shape = Shape<T>(stages);
  params.rows = rows;
  params.p = in.p.template matrix<const T>();
  params.eta = in.eta.template matrix<const T>();
  params.delta = in.delta.template matrix<const T>();
  params.age = found.data();
  testing::Check(ssr::RegressCuda(params, 0, nullptr));
  params.age = expected.data();
  testing::Check(ssr::Regress(params, ssr::Isa::kPortable));
  for (T& value : in.eta.memory) value = std::fabs(value);  // the sum of the terms' magnitudes
  params.age = scale.data();
  testing::Check(ssr::Regress(params, ssr::Isa::kPortable));
  for (int64_t n = 0; n < rows; ++n) {
    CHECK(std::fabs(static_cast<double>(found.at(n, 0) - expected.at(n, 0))) <=
          kBound<T> * static_cast<double>(scale.at(n, 0)));
  }
}

// wanted: bits 0 to 2, the gradients to p, eta and delta.
template <typename T>
void CheckBackward(const std::vector<int>& stages, int64_t bins, int64_t rows, Layout layout, int wanted,
                   int64_t grad_age_stride) {
  const int64_t num_stages = static_cast<int64_t>(stages.size());
  Inputs<T> in(rows, bins, num_stages, layout);
  std::vector<T> grad_age(static_cast<size_t>(std::max<int64_t>(rows * grad_age_stride, 1)));
  for (size_t i = 0; i < grad_age.size(); ++i) grad_age[i] = T(1) + T(i % 5);
  std::vector<Values<T>> answers[2];
  for (const bool cuda : {true, false}) {
    std::vector<Values<T>>& grads = answers[cuda];
    for (const int64_t columns : {bins, bins, num_stages}) grads.emplace_back(rows, columns, layout);
    ssr::RegressionBackward<T> params;
    params.shape = Shape<T>(stages);
    params.rows = rows;
    params.p = in.p.template matrix<const T>();
    params.eta = in.eta.template matrix<const T>();
    params.delta = in.delta.template matrix<const T>();
    params.grad_age = grad_age.data();
    params.grad_age_stride = grad_age_stride;
    if (wanted & 1) params.grad_p = grads[0].template matrix<T>();
    if (wanted & 2) params.grad_eta = grads[1].template matrix<T>();
    if (wanted & 4) params.grad_delta = grads[2].template matrix<T>();
    testing::Check(cuda ? ssr::RegressCuda(params, 0, nullptr) : ssr::Regress(params, ssr::Isa::kPortable));
  }
  for (int i = 0; i < 3; ++i) {
    Values<T>&found = answers[1][static_cast<size_t>(i)], &expected = answers[0][static_cast<size_t>(i)];
    if (wanted & 1 << i) {
      CHECK(Difference(found, expected) <= kBound<T>);
    } else {
      for (const T value : found.memory) CHECK(std::isnan(value));
    }
  }
}

template <typename T>
void CheckOperator() {
  for (const std::vector<int>& stages : {std::vector<int>{3, 3, 3}, {2, 5}, {1}, std::vector<int>(16, 2)}) {
    int64_t bins = 0;
    for (const int s : stages) bins += s;
    for (const Layout layout : {Layout::kPacked, Layout::kShifted, Layout::kColumns}) {
      for (const int64_t rows : kRows) {
        CheckForward<T>(stages, bins, rows, layout);
        CheckBackward<T>(stages, bins, rows, layout, 7, 1);
      }
      for (int wanted = 1; wanted < 7; ++wanted) CheckBackward<T>(stages, bins, 257, layout, wanted, 0);
      CheckBackward<T>(stages, bins, 257, layout, 7, 2);
    }
  }
}

// With every width at the floor 14 stages multiply up to 1e42, beyond float32; the terms that follow are
// finite.
void CheckManyStagesAtTheFloor() {
  const std::vector<int> stages(14, 1);
  Inputs<float> in(1, 14, 14, Layout::kPacked);
  for (float& value : in.delta.memory) value = -1;
  for (float& value : in.p.memory) value = 0;
  in.p.at(0, 0) = 0.5F;
  in.eta.at(0, 0) = 1;
  float age = NAN;
  ssr::RegressionForward<float> params;
  params.shape = Shape<float>(stages);
  params.rows = 1;
  params.p = in.p.matrix<const float>();
  params.eta = in.eta.matrix<const float>();
  params.delta = in.delta.matrix<const float>();
  params.age = &age;
  testing::Check(ssr::RegressCuda(params, 0, nullptr));
  CHECK(std::fabs(age - 0.45F * 101 * 1000) < 1);
}

void CheckRefusals() {
  float value = 0;
  ssr::RegressionForward<float> params;
  params.shape = Shape<float>({3, 3, 3});
  params.rows = int64_t{1} << 40;
  params.p = params.eta = params.delta = {&value, 0, 0};
  params.age = &value;
  CHECK(ssr::RegressCuda(params, 0, nullptr).message() ==
        "rows: expected at most 549755813632, got 1099511627776");
  params.rows = 1;
  const ssr::Status status = ssr::RegressCuda(params, 1, nullptr);
  CHECK(status.code() == ssr::Code::kUnavailable && status.message().find("CUDA: no usable device") == 0);
}

struct Answers {
  std::vector<float> value, p, eta, delta;

  Answers(const ssr::Model& model, size_t n)
      : value(n, NAN),
        p(n * static_cast<size_t>(model.architecture.TotalBins()), NAN),
        eta(p),
        delta(n * model.architecture.stages.size(), NAN) {}
  ssr::Outputs outputs() {
    ssr::Outputs outputs;
    outputs.value = value.data();
    outputs.p = p.data();
    outputs.eta = eta.data();
    outputs.delta = delta.data();
    return outputs;
  }
};

// Within 1e-4 of the largest magnitude (tests/tolerances.py, cuda).
void Agree(const char* name, const std::vector<float>& found, const std::vector<float>& expected) {
  float scale = 1, worst = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    scale = std::fmax(scale, std::fabs(expected[i]));
    if (!(std::fabs(found[i] - expected[i]) <= worst)) worst = std::fabs(found[i] - expected[i]);
  }
  std::printf("%s: largest difference %g of %g\n", name, static_cast<double>(worst),
              static_cast<double>(scale));
  CHECK(worst <= 1e-4f * scale);
}

std::unique_ptr<ssr::Engine> Start(const std::shared_ptr<const ssr::Model>& model) {
  std::unique_ptr<ssr::Engine> engine;
  testing::Check(ssr::CreateCudaEngine(model, {}, 0, &engine));
  return engine;
}

void CheckNetwork(const std::shared_ptr<const ssr::Model>& model) {
  constexpr size_t kImages = 3;
  std::mt19937 random(1);
  std::vector<uint8_t> pictures(kImages * ssr::kImageBytes);
  for (size_t i = 0; i < pictures.size(); ++i) {  // noise, then ever coarser stripes
    const size_t image = i / ssr::kImageBytes, column = i / 3 % ssr::kImageSize;
    pictures[i] = static_cast<uint8_t>(image == 0 ? random() : (column >> image) % 2 * (200 + random() % 56));
  }
  std::vector<const uint8_t*> images;
  for (size_t i = 0; i < kImages; ++i) images.push_back(pictures.data() + i * ssr::kImageBytes);
  std::unique_ptr<ssr::Engine> cpu;
  testing::Check(ssr::Engine::Create(model, {}, &cpu));
  const std::unique_ptr<ssr::Engine> cuda = Start(model);
  Answers expected(*model, kImages), found(*model, kImages), last(*model, 1);
  testing::Check(cpu->Predict(images.data(), kImages, expected.outputs()));
  testing::Check(cuda->Predict(images.data(), kImages, found.outputs()));
  Agree("p", found.p, expected.p);
  Agree("eta", found.eta, expected.eta);
  Agree("delta", found.delta, expected.delta);
  testing::Check(cuda->Predict(images.data() + kImages - 1, 1, last.outputs()));
  CHECK(last.value[0] == found.value[kImages - 1]);  // whatever else is in the batch
  testing::Check(cuda->Predict(nullptr, 0, {}));
}

// Each runtime call fails once: an error comes back, nothing leaks, and the next call is served.
void CheckFailingCalls(const std::shared_ptr<const ssr::Model>& model) {
  using cuda_on_cpu::calls, cuda_on_cpu::failing_call;
  const std::vector<uint8_t> picture(ssr::kImageBytes, 90);
  const uint8_t* image = picture.data();
  calls = 0;
  std::unique_ptr<ssr::Engine> engine = Start(model);
  const int64_t starting = calls;
  float expected = NAN;
  ssr::Outputs outputs;
  outputs.value = &expected;
  calls = 0;
  testing::Check(engine->Predict(&image, 1, outputs));
  const int64_t predicting = calls;
  CHECK(starting > 10 && predicting >= 10);
  for (int64_t call = 0; call < starting; ++call) {
    std::unique_ptr<ssr::Engine> none;
    calls = 0, failing_call = call;
    const ssr::Status status = ssr::CreateCudaEngine(model, {}, 0, &none);
    failing_call = -1;
    CHECK(!status.ok() && none == nullptr);
  }
  for (int64_t call = 0; call < predicting; ++call) {
    float value = NAN;
    outputs.value = &value;
    calls = 0, failing_call = call;
    const ssr::Status status = engine->Predict(&image, 1, outputs);
    failing_call = -1;
    CHECK(!status.ok() && status.message().find("CUDA: ") == 0 && std::isnan(value));
  }
  float value = NAN;
  outputs.value = &value;
  testing::Check(engine->Predict(&image, 1, outputs));
  CHECK(value == expected);
  std::printf("%d failing calls\n", static_cast<int>(starting + predicting));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s BUNDLE\n", argv[0]), 2;
  const std::shared_ptr<const ssr::Model> model = testing::LoadModel(argv[1]);
  CheckOperator<float>();
  CheckOperator<double>();
  CheckManyStagesAtTheFloor();
  CheckRefusals();
  CheckNetwork(model);
  CheckFailingCalls(model);
  return 0;
}
