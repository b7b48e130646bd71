// The face detector: a frame in, boxes and landmarks out.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ssr/frame.h"
#include "ssr/model.h"
#include "ssr/status.h"

namespace ssr {

// What a search's longest sides may be: see ssr_bundle/detector.py.
constexpr int kSmallestScale = 32, kLargestScale = 8192, kMostScales = 8;
constexpr float kLeastThreshold = 0.01f;

struct Detection {
  float x, y, width, height;  // pixels of the frame
  float score;
  float landmarks[10];  // x, y of right eye, left eye, nose tip, right and left corner of the mouth
};

// A detector bundle, loaded and verified.
class DetectorModel {
 public:
  // As Model::Load.
  static Status Load(const std::string& folder, std::shared_ptr<const DetectorModel>* model);

  std::string name;
  std::vector<int> scales;  // longest sides in pixels, rising
  double score_threshold, nms_threshold, merge_threshold;
  int max_candidates;
  std::map<std::string, Tensor> parameters;  // names of ssr_bundle/detector.py
  std::string weights_sha256;                // of model.safetensors
};

struct DetectorOptions {
  std::string precision = "fp32";
  int threads = 1;             // worker threads of one Detect call, 1..kMaxThreads
  std::string implementation;  // empty: SSR_FORCE_IMPLEMENTATION, else the best
};

struct SearchOptions {
  float threshold = 0;  // kLeastThreshold..1; 0: the contract's
  std::vector<int>
      scales;  // kSmallestScale..kLargestScale, rising, at most kMostScales; empty: the contract's
};

class Detector {
 public:
  static Status Create(std::shared_ptr<const DetectorModel> model, const DetectorOptions& options,
                       std::unique_ptr<Detector>* detector);
  virtual ~Detector() = default;

  // The faces of a frame, each once, from left to right. Thread-safe; bits depend on the frame and the search
  // alone.
  virtual Status Detect(const Frame& frame, const SearchOptions& search, std::vector<Detection>* found) = 0;

  // What the network says of a frame as it is, whatever its size: for stride 8, then 16, then 32, of each
  // cell cls, obj, bbox (4), kps (10), before the sigmoid. For tests and benchmarks.
  virtual Status Raw(const Frame& frame, std::vector<float>* raw) = 0;

  const DetectorModel& model() const { return *model_; }
  const DetectorOptions& options() const { return options_; }
  // What really runs: "avx512", "avx2" or "portable".
  virtual const char* implementation() const = 0;

 protected:
  std::shared_ptr<const DetectorModel> model_;
  DetectorOptions options_;
};

}  // namespace ssr
