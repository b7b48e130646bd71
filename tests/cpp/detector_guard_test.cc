// The detector reads nothing beyond a frame and neither reads nor writes beyond its own weights, maps and
// rings: all of them end at, or begin after, a page that faults. Its bits depend on the frame alone, not on
// what that memory held, and a second search allocates nothing. Usage: detector_guard_test BUNDLE
#include <algorithm>
#include <atomic>

#include "cpu/shrink.h"
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

// Means exact in each of the kernels: narrow rows of one, two and many pairs of pixels, wide ones, any.
void TestShrinking(ssr::Isa isa) {
  struct Case {
    Side from, to;
  };
  std::vector<Case> cases = {{{90, 160}, {30, 53}},   {{97, 131}, {96, 130}}, {{1000, 9}, {3, 9}},
                             {{256, 64}, {1, 1}},     {{7, 7}, {7, 6}},       {{300, 400}, {211, 173}},
                             {{108, 192}, {90, 160}}, {{108, 192}, {36, 64}}, {{1, 1}, {1, 1}},
                             {{128, 62}, {1, 1}},     {{129, 62}, {1, 1}},    {{127, 63}, {1, 1}},
                             {{65793, 9}, {1, 8}},    {{65794, 9}, {1, 8}},   {{96, 7680}, {20, 1600}}};
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    const int64_t height = 1 + random() % 50, width = 1 + random() % 50;
    cases.push_back(
        {{height, width},
         {1 + static_cast<int64_t>(random()) % height, 1 + static_cast<int64_t>(random()) % width}});
  }
  ssr::cpu::Shrinker shrinker(isa);
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto [rows, columns] = cases[i].to;
    testing::Picture picture(cases[i].from.height, cases[i].from.width, static_cast<unsigned>(i));
    if (i % 3 == 2) std::fill(picture.bytes.begin(), picture.bytes.end(), uint8_t{255});  // the largest sums
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
  for (const ssr::Isa isa : ssr::SupportedIsas()) {
    const int before = guarded_blocks;
    TestShrinking(isa);
    TestFrames(model, isa);
    CHECK(guarded_blocks > before);  // else the detector's arrays come from elsewhere, and are not watched
    TestColours(model, isa);
    TestAllocations(model, isa);
    TestRefusals(model, isa);
    std::printf("%s: nothing outside, same bits at every place\n", ssr::IsaName(isa));
  }
  return 0;
}
