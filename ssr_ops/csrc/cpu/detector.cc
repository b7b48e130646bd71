#include "ssr/detector.h"

#include <exception>
#include <new>

#include "core/detections.h"
#include "core/detector_model.h"
#include "core/idle.h"
#include "cpu/detector_network.h"
#include "cpu/shrink.h"
#include "ssr/engine.h"

namespace ssr {
namespace {

// What one call needs.
struct Workspace {
  explicit Workspace(Isa isa) : shrinker(isa) {}

  cpu::DetectorMaps maps;
  cpu::Shrinker shrinker;
  std::vector<uint8_t> bgr, shrunk;
  std::vector<Size> sizes;
  std::vector<Find> finds;
};

class CpuDetector final : public Detector {
 public:
  CpuDetector(std::shared_ptr<const DetectorModel> model, const DetectorOptions& options, Isa isa)
      : isa_(isa), network_(*model, isa), pool_(options.threads - 1) {
    model_ = std::move(model);
    options_ = options;
  }

  const char* implementation() const override { return IsaName(isa_); }

  Status Detect(const Frame& frame, const SearchOptions& search, std::vector<Detection>* found) override {
    SSR_RETURN_IF_ERROR(CheckFrame(frame));
    SSR_RETURN_IF_ERROR(CheckSearch(search));
    return WithWorkspace([&](Workspace* work) {
      Search(frame, search, work);
      found->clear();
      for (const Find& find : work->finds) found->push_back(AsDetection(find));
    });
  }

  Status Raw(const Frame& frame, std::vector<float>* raw) override {
    SSR_RETURN_IF_ERROR(CheckFrame(frame));
    if (frame.height > kLargestScale || frame.width > kLargestScale) {
      return {Code::kInvalidArgument, "frame: more than " + std::to_string(kLargestScale) + " pixels a side"};
    }
    return WithWorkspace([&](Workspace* work) {
      const Frame picture = Converted(frame, work);
      Run(picture.data, {frame.height, frame.width}, picture.format, work);
      raw->clear();
      for (int level = 0; level < cpu::kDetectorLevels; ++level) {
        const int64_t cells = int64_t{work->maps.height(level)} * work->maps.width(level);
        raw->insert(raw->end(), work->maps.cells(level), work->maps.cells(level) + cells * kCellValues);
      }
    });
  }

 private:
  // The frame in a format that is searched: NV12 becomes BGR.
  static Frame Converted(const Frame& frame, Workspace* work) {
    if (frame.format != FrameFormat::kNv12) return frame;
    work->bgr.resize(static_cast<size_t>(frame.height * frame.width * 3));
    for (int64_t row = 0; row < frame.height; ++row) {
      RowToBgr(frame, row, work->bgr.data() + row * frame.width * 3);
    }
    return {work->bgr.data(), frame.height, frame.width};
  }

  static Detection AsDetection(const Find& find) {
    Detection detection;
    float* const box[] = {&detection.x, &detection.y, &detection.width, &detection.height};
    for (int i = 0; i < 4; ++i) *box[i] = static_cast<float>(find.box[i]);
    detection.score = static_cast<float>(find.score);
    for (int i = 0; i < 10; ++i) detection.landmarks[i] = static_cast<float>(find.landmarks[i]);
    return detection;
  }

  template <typename Do>
  Status WithWorkspace(Do use) {
    try {
      std::unique_ptr<Workspace> work = idle_.Take();
      if (work == nullptr) work = std::make_unique<Workspace>(isa_);
      use(work.get());
      idle_.Give(std::move(work));
    } catch (const std::exception& error) {
      return {Code::kInternal, std::string("no memory for a call's work: ") + error.what()};
    }
    return {};
  }

  void Run(const uint8_t* picture, const Size& size, FrameFormat format, Workspace* work) {
    network_.Run(picture, size.height, size.width, format == FrameFormat::kRgb, &pool_, options_.threads,
                 &work->maps);
  }

  void Search(const Frame& given, const SearchOptions& search, Workspace* work) {
    const Frame frame = Converted(given, work);
    const double threshold = search.threshold != 0 ? double{search.threshold} : model_->score_threshold;
    SizesSearched(frame.height, frame.width, search.scales.empty() ? model_->scales : search.scales,
                  &work->sizes);
    work->finds.clear();
    for (const Size& size : work->sizes) {
      const uint8_t* picture = frame.data;
      if (size.height != frame.height || size.width != frame.width) {
        work->shrunk.resize(static_cast<size_t>(size.height * size.width * 3));
        work->shrinker.Shrink(frame.data, frame.height, frame.width, size.height, size.width,
                              work->shrunk.data());
        picture = work->shrunk.data();
      }
      Run(picture, size, frame.format, work);
      const size_t begin = work->finds.size();
      for (int level = 0; level < cpu::kDetectorLevels; ++level) {
        Decode(work->maps.cells(level), work->maps.height(level), work->maps.width(level),
               kDetectorStrides[level], threshold, &work->finds);
      }
      KeepBest(begin, model_->max_candidates, model_->nms_threshold, &work->finds);
      const double back[] = {static_cast<double>(frame.width) / static_cast<double>(size.width),
                             static_cast<double>(frame.height) / static_cast<double>(size.height)};
      for (size_t i = begin; i < work->finds.size(); ++i) {
        Find& find = work->finds[i];
        for (int k = 0; k < 4; ++k) find.box[k] *= back[k % 2];
        for (int k = 0; k < 10; ++k) find.landmarks[k] *= back[k % 2];
      }
    }
    KeepFaces(frame.height, frame.width, model_->merge_threshold, &work->finds);
  }

  const Isa isa_;
  const cpu::DetectorNetwork network_;
  Idle<Workspace> idle_;
  ThreadPool pool_;
};

Status CreateUnguarded(std::shared_ptr<const DetectorModel> model, const DetectorOptions& options,
                       std::unique_ptr<Detector>* detector) {
  if (model == nullptr) return {Code::kInvalidArgument, "a detector needs a model, got none"};
  if (options.threads < 1 || options.threads > kMaxThreads) {
    return {Code::kInvalidArgument, "threads must lie in 1.." + std::to_string(kMaxThreads) + ", got " +
                                        std::to_string(options.threads)};
  }
  if (options.precision != "fp32") {
    return {Code::kInvalidArgument,
            "precision '" + options.precision + "' is none of a detector's, expected fp32"};
  }
  Isa isa = Isa::kPortable;
  SSR_RETURN_IF_ERROR(ChooseIsa(options.implementation, &isa));
  *detector = std::make_unique<CpuDetector>(std::move(model), options, isa);
  return {};
}

}  // namespace

Status Detector::Create(std::shared_ptr<const DetectorModel> model, const DetectorOptions& options,
                        std::unique_ptr<Detector>* detector) {
  try {
    return CreateUnguarded(std::move(model), options, detector);
  } catch (const std::exception& error) {
    return {Code::kInternal, std::string("the detector could not start: ") + error.what()};
  }
}

}  // namespace ssr
