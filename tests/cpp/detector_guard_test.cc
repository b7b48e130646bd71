// The detector reads nothing beyond a frame and neither reads nor writes beyond its own weights, maps and
// rings: all of them end at, or begin after, a page that faults. Its bits depend on the frame alone, not on
// what that memory held, and a second search allocates nothing. Usage: detector_guard_test BUNDLE
#include <algorithm>
#include <atomic>

#include "core/shrink.h"
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
      const Guarded bytes(picture.bytes.data(), picture.bytes.size(), at);
      for (ssr::Detector* detector : {first.get(), second.get()}) {
        const ssr::Frame frame = picture.Frame(bytes.data());
        CHECK(testing::SameBits(testing::Raw(detector, frame), raw));
        CHECK(testing::SameBits(testing::Found(detector, frame), found));
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

// The mean over a part of a picture in whole numbers: units of 1 / rows and 1 / columns of a pixel.
int Mean(const testing::Picture& picture, int64_t rows, int64_t columns, int64_t y, int64_t x,
         int64_t colour) {
  const auto overlap = [](int64_t pixel, int64_t part, int64_t pixels, int64_t parts) {
    return std::min((pixel + 1) * parts, (part + 1) * pixels) - std::max(pixel * parts, part * pixels);
  };
  int64_t sum = 0;
  for (int64_t i = y * picture.height / rows; i * rows < (y + 1) * picture.height; ++i) {
    for (int64_t j = x * picture.width / columns; j * columns < (x + 1) * picture.width; ++j) {
      sum += overlap(i, y, picture.height, rows) * overlap(j, x, picture.width, columns) *
             picture.bytes[static_cast<size_t>((i * picture.width + j) * 3 + colour)];
    }
  }
  const int64_t area = picture.height * picture.width;
  return static_cast<int>((2 * sum + area) / (2 * area));
}

void TestShrinking() {
  constexpr Side kFrom[] = {{90, 160}, {97, 131}, {1000, 9}, {256, 64}, {7, 7}, {300, 400}};
  constexpr Side kTo[] = {{30, 53}, {96, 130}, {3, 9}, {1, 1}, {7, 6}, {211, 173}};
  ssr::Shrinker shrinker;
  for (size_t i = 0; i < std::size(kFrom); ++i) {
    const auto [rows, columns] = kTo[i];
    const testing::Picture picture(kFrom[i].height, kFrom[i].width, static_cast<unsigned>(i));
    const Guarded in(picture.bytes.data(), picture.bytes.size(), Guarded::At::kEnd);
    const Guarded out(static_cast<size_t>(rows * columns * 3), Guarded::At::kEnd);
    shrinker.Shrink(in.data(), picture.height, picture.width, rows, columns, out.data());
    for (int64_t at = 0; at < rows * columns * 3; ++at) {
      CHECK(out.data()[at] == Mean(picture, rows, columns, at / 3 / columns, at / 3 % columns, at % 3));
    }
  }
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
  TestShrinking();
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
