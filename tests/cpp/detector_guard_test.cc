// The detector reads nothing beyond a frame and neither reads nor writes beyond its own weights, maps and
// rings: all of them end at, or begin after, a page that faults. Its bits depend on the frame alone, not on
// what that memory held, and a second search allocates nothing. Usage: detector_guard_test BUNDLE
#include <atomic>

#include "detector_testing.h"
#include "guarded.h"

namespace {

std::atomic<int> allocations{0};

}  // namespace

void* operator new(size_t size) {
  ++allocations;
  void* memory = std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace {

struct Side {
  int64_t height, width;
};

// Of one block, of many, beside multiples of 32, of several bands and strips.
constexpr Side kSides[] = {{1, 1}, {8, 8}, {31, 33}, {64, 96}, {97, 130}, {33, 1000}, {200, 41}, {40, 1700}};

void TestFrames(const std::shared_ptr<const ssr::DetectorModel>& model, ssr::Isa isa) {
  const auto first = testing::MakeDetector(model, isa, 1), second = testing::MakeDetector(model, isa, 3);
  size_t faces = 0;
  for (const Side& side : kSides) {
    const testing::Picture picture(side.height, side.width, 7);
    const std::vector<float> raw = testing::Raw(first.get(), picture.Frame());
    const std::vector<float> found = testing::Found(first.get(), picture.Frame());
    CHECK(!found.empty());
    faces += static_cast<size_t>(found[0]);
    for (const Guarded::At at : {Guarded::At::kBegin, Guarded::At::kEnd}) {
      for (const size_t gap : {0, 1}) {
        const Guarded bytes(picture.bytes.data(), picture.bytes.size(), at, gap);
        for (ssr::Detector* detector : {first.get(), second.get()}) {
          const ssr::Frame frame = picture.Frame(bytes.data());
          CHECK(testing::SameBits(testing::Raw(detector, frame), raw));
          CHECK(testing::SameBits(testing::Found(detector, frame), found));
        }
      }
    }
    const auto fresh = testing::MakeDetector(model, isa, 2);
    CHECK(testing::SameBits(testing::Raw(fresh.get(), picture.Frame()), raw));
  }
  CHECK(faces > 0);  // else decoding, suppressing and merging had no turn
}

void TestColours(const std::shared_ptr<const ssr::DetectorModel>& model, ssr::Isa isa) {
  const auto detector = testing::MakeDetector(model, isa, 1);
  const testing::Picture picture(70, 90, 3);
  std::vector<uint8_t> swapped = picture.bytes;
  for (size_t i = 0; i < swapped.size(); i += 3) std::swap(swapped[i], swapped[i + 2]);
  ssr::Frame frame = picture.Frame(swapped.data());
  frame.format = ssr::FrameFormat::kRgb;
  const std::vector<float> bgr = testing::Raw(detector.get(), picture.Frame());
  const std::vector<float> rgb = testing::Raw(detector.get(), frame);
  CHECK(bgr.size() == rgb.size());
  for (size_t i = 0; i < bgr.size(); ++i) CHECK(std::abs(bgr[i] - rgb[i]) < 1e-3f);
}

void TestAllocations(const std::shared_ptr<const ssr::DetectorModel>& model, ssr::Isa isa) {
  const auto detector = testing::MakeDetector(model, isa, 1);
  const testing::Picture large(210, 300, 5), small(64, 100, 6);
  const ssr::SearchOptions search = testing::EagerSearch();
  std::vector<ssr::Detection> found;
  found.reserve(20000);
  for (const testing::Picture* picture : {&large, &small}) {
    testing::Check(detector->Detect(picture->Frame(), search, &found));
  }
  const int before = allocations, guarded = guarded_blocks;
  for (const testing::Picture* picture : {&small, &large, &small}) {
    testing::Check(detector->Detect(picture->Frame(), search, &found));
  }
  CHECK(allocations == before);
  CHECK(guarded_blocks == guarded);
}

void TestRefusals(const std::shared_ptr<const ssr::DetectorModel>& model, ssr::Isa isa) {
  const auto detector = testing::MakeDetector(model, isa, 1);
  const testing::Picture picture(40, 40, 1);
  std::vector<ssr::Detection> found;
  ssr::Frame frame = picture.Frame();
  frame.data = nullptr;
  CHECK(!detector->Detect(frame, {}, &found).ok());
  frame = picture.Frame();
  frame.height = -1;
  CHECK(!detector->Detect(frame, {}, &found).ok());
  frame.height = int64_t{1} << 40;
  CHECK(!detector->Detect(frame, {}, &found).ok());
  for (const ssr::SearchOptions& search :
       {ssr::SearchOptions{2, {}}, ssr::SearchOptions{0, {5}}, ssr::SearchOptions{0, {64, 64}}}) {
    CHECK(detector->Detect(picture.Frame(), search, &found).code() == ssr::Code::kInvalidArgument);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s BUNDLE\n", argv[0]), 2;
  const std::shared_ptr<const ssr::DetectorModel> model = testing::LoadDetector(argv[1]);
  for (const ssr::Isa isa : ssr::SupportedIsas()) {
    const int before = guarded_blocks;
    TestFrames(model, isa);
    CHECK(guarded_blocks > before);  // else the detector's arrays come from elsewhere, and are not watched
    TestColours(model, isa);
    TestAllocations(model, isa);
    TestRefusals(model, isa);
    std::printf("%s: nothing outside, same bits at every place\n", ssr::IsaName(isa));
  }
  return 0;
}
