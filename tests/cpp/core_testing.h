// What the core's test programs share: a model, every way to run it, and comparing answers bit by bit.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "ssr/engine.h"

namespace testing {

inline void Check(const ssr::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

// A precision and an implementation of it.
struct Kind {
  std::string precision, implementation;
  std::string Text() const { return precision + " " + implementation; }
};

// Everything in which this build and this CPU can run the model.
inline std::vector<Kind> Kinds(const ssr::Model& model) {
  std::vector<Kind> kinds;
  for (const ssr::Precision precision :
       {ssr::Precision::kFp32, ssr::Precision::kBf16, ssr::Precision::kInt8}) {
    if (precision != ssr::Precision::kFp32 && !model.quantization) continue;
    for (const ssr::Isa isa : ssr::SupportedIsas(precision)) {
      kinds.push_back({ssr::PrecisionName(precision), ssr::IsaName(isa)});
    }
  }
  return kinds;
}

inline std::shared_ptr<const ssr::Model> LoadModel(const char* path) {
  std::shared_ptr<const ssr::Model> model;
  Check(ssr::Model::Load(path, &model));
  return model;
}

// A model that runs in every precision, or the end: tests of all of them must not pass with one.
inline std::shared_ptr<const ssr::Model> LoadQuantized(const char* path) {
  std::shared_ptr<const ssr::Model> model = LoadModel(path);
  if (model->quantization) return model;
  std::fprintf(stderr, "%s is not quantized\n", path);
  std::exit(1);
}

inline std::unique_ptr<ssr::Engine> MakeEngine(std::shared_ptr<const ssr::Model> model, const Kind& kind,
                                               int threads) {
  ssr::EngineOptions options;
  options.precision = kind.precision;
  options.implementation = kind.implementation;
  options.threads = threads;
  std::unique_ptr<ssr::Engine> engine;
  Check(ssr::Engine::Create(std::move(model), options, &engine));
  CHECK(engine->implementation() == kind.implementation);
  return engine;
}

// Noise, then a dark, a white and ever coarser striped pictures.
inline std::vector<uint8_t> Pictures(int count) {
  std::mt19937 random(3);
  std::vector<uint8_t> pictures(static_cast<size_t>(count) * ssr::kImageBytes);
  for (size_t i = 0; i < pictures.size(); ++i) {
    const size_t image = i / ssr::kImageBytes, column = i / 3 % ssr::kImageSize;
    const unsigned noise = random();
    pictures[i] = static_cast<uint8_t>(image == 1   ? 0
                                       : image == 2 ? 255
                                       : image < 6  ? noise
                                                    : (column >> (image - 6) % 6) % 2 * (200 + noise % 56));
  }
  return pictures;
}

// Numbers an image in what Predict fills: value, p, eta, delta.
inline size_t Row(const ssr::Model& model) {
  return 1 + 2 * static_cast<size_t>(model.architecture.TotalBins()) + model.architecture.stages.size();
}

// All outputs of `n` images into `room`: n * Row floats, by output and then by image.
inline ssr::Status PredictInto(ssr::Engine* engine, const uint8_t* const* images, int64_t n, float* room) {
  const int64_t bins = engine->model().architecture.TotalBins();
  ssr::Outputs outputs;
  outputs.value = room;
  outputs.p = outputs.value + n;
  outputs.eta = outputs.p + n * bins;
  outputs.delta = outputs.eta + n * bins;
  return engine->Predict(images, n, outputs);
}

// One row of bits an image, so that calls of different sizes compare.
inline std::vector<std::vector<float>> Rows(const ssr::Model& model, const float* room, int64_t n) {
  const int64_t bins = model.architecture.TotalBins();
  const int64_t sizes[] = {1, bins, bins, static_cast<int64_t>(model.architecture.stages.size())};
  std::vector<std::vector<float>> rows(static_cast<size_t>(n));
  for (const int64_t size : sizes) {
    for (std::vector<float>& row : rows) {
      row.insert(row.end(), room, room + size);
      room += size;
    }
  }
  return rows;
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Empty if Predict fails.
inline std::vector<std::vector<float>> PredictRows(ssr::Engine* engine, const uint8_t* const* images,
                                                   int64_t n) {
  std::vector<float> room(static_cast<size_t>(n) * Row(engine->model()));
  if (!PredictInto(engine, images, n, room.data()).ok()) return {};
  return Rows(engine->model(), room.data(), n);
}

inline std::vector<const uint8_t*> Pointers(const std::vector<uint8_t>& pictures) {
  std::vector<const uint8_t*> pointers;
  for (size_t at = 0; at < pictures.size(); at += ssr::kImageBytes) pointers.push_back(pictures.data() + at);
  return pointers;
}

}  // namespace testing
