// What the detector's test programs share.
#pragma once

#include "core_testing.h"
#include "ssr/detector.h"

namespace testing {

// Noise with smooth patches, in which the network sees this and that.
struct Picture {
  Picture(int64_t height_, int64_t width_, unsigned seed) : height(height_), width(width_) {
    std::mt19937 random(seed);
    bytes.resize(static_cast<size_t>(height * width * 3));
    for (size_t i = 0; i < bytes.size(); ++i) {
      const size_t column = i / 3 % static_cast<size_t>(width), row = i / 3 / static_cast<size_t>(width);
      bytes[i] = static_cast<uint8_t>((column / 16 + row / 24) % 2 != 0 ? random() : 4 * row + 3 * column);
    }
  }
  ssr::Frame Frame(const uint8_t* data) const {
    ssr::Frame frame;
    frame.data = data;
    frame.height = height;
    frame.width = width;
    return frame;
  }
  ssr::Frame Frame() const { return Frame(bytes.data()); }

  int64_t height, width;
  std::vector<uint8_t> bytes;
};

// A threshold at which noise has faces, and scales that shrink.
inline ssr::SearchOptions EagerSearch() { return {0.01f, {96, 128}}; }

inline std::shared_ptr<const ssr::DetectorModel> LoadDetector(const char* path) {
  std::shared_ptr<const ssr::DetectorModel> model;
  Check(ssr::DetectorModel::Load(path, &model));
  return model;
}

inline std::unique_ptr<ssr::Detector> MakeDetector(std::shared_ptr<const ssr::DetectorModel> model,
                                                   ssr::Isa isa, int threads) {
  ssr::DetectorOptions options;
  options.threads = threads;
  options.implementation = ssr::IsaName(isa);
  std::unique_ptr<ssr::Detector> detector;
  Check(ssr::Detector::Create(std::move(model), options, &detector));
  CHECK(detector->implementation() == options.implementation);
  return detector;
}

inline std::vector<float> Raw(ssr::Detector* detector, const ssr::Frame& frame) {
  std::vector<float> raw;
  Check(detector->Raw(frame, &raw));
  return raw;
}

// Empty if Detect fails.
inline std::vector<float> Found(ssr::Detector* detector, const ssr::Frame& frame) {
  std::vector<ssr::Detection> found;
  if (!detector->Detect(frame, EagerSearch(), &found).ok()) return {};
  std::vector<float> numbers = {static_cast<float>(found.size())};
  for (const ssr::Detection& face : found) {
    numbers.insert(numbers.end(), {face.x, face.y, face.width, face.height, face.score});
    numbers.insert(numbers.end(), std::begin(face.landmarks), std::end(face.landmarks));
  }
  return numbers;
}

}  // namespace testing
