// Cutting faces: what is refused, pictures too large for 32 bits, and the fuzz target on random inputs.
// Iteration i of a seed is the same on every machine. Usage: cut_test [SEED ITERATIONS [FIRST]]
#include <sys/mman.h>

#include <cmath>
#include <csignal>

#include "core_testing.h"
#include "cut_fuzz.h"
#include "ssr/crop.h"

namespace {

unsigned long seed = 1, iteration = 0;

void SayWhere(int) {
  std::fprintf(stderr, "in iteration %lu of seed %lu\n", iteration, seed);
  std::_Exit(1);
}

void CheckRefused(const ssr::Status& status, const std::string& expected) {
  if (status.code() == ssr::Code::kInvalidArgument && status.message().find(expected) != std::string::npos)
    return;
  std::fprintf(stderr, "'%s' does not say '%s'\n", status.message().c_str(), expected.c_str());
  std::exit(1);
}

void TestFrames() {
  const uint8_t pixels[12] = {};
  ssr::Frame frame;
  frame.data = pixels, frame.height = 2, frame.width = 2;
  testing::Check(ssr::CheckFrame(frame));
  CHECK(ssr::FrameBytes(frame) == 12);
  frame.format = ssr::FrameFormat::kNv12;
  testing::Check(ssr::CheckFrame(frame));
  CHECK(ssr::FrameBytes(frame) == 6);
  frame.width = 1;
  CheckRefused(ssr::CheckFrame(frame), "1 x 2, but both sides of NV12 are even");
  frame.format = ssr::FrameFormat::kRgb;
  testing::Check(ssr::CheckFrame(frame));
  for (const int64_t side : {int64_t{0}, int64_t{-3}, INT64_MIN}) {
    frame.height = side;
    CheckRefused(ssr::CheckFrame(frame), "it has no pixels");
  }
  frame.height = ssr::kMaxFrameSide + 1;
  CheckRefused(ssr::CheckFrame(frame), "at most 16777216 pixels a side");
  CheckRefused(ssr::CutFaces(frame, {}, false, nullptr, nullptr, 0, nullptr), "pixels a side");
  frame.height = 2, frame.data = nullptr;
  CheckRefused(ssr::CheckFrame(frame), "it has no data");
}

void TestFaces() {
  const uint8_t pixels[3] = {10, 20, 30};
  ssr::Frame frame;
  frame.data = pixels, frame.height = 1, frame.width = 1;
  std::vector<uint8_t> crops(2 * ssr::kImageBytes);
  ssr::Crop crop;
  testing::Check(ssr::CutFaces(frame, crop, true, nullptr, nullptr, 0, nullptr));
  const float boxes[8] = {0, 0, 1, 1, -3, 0, NAN, 1};
  testing::Check(ssr::CutFaces(frame, crop, true, boxes, nullptr, 1, crops.data()));
  CHECK(crops[0] == 30 && crops[1] == 20 && crops[ssr::kImageBytes - 1] == 10);
  CheckRefused(ssr::CutFaces(frame, crop, true, boxes, nullptr, 2, crops.data()),
               "box 1: (-3, 0, nan, 1) has no area");
  crop.aligned = true, crop.border = ssr::Border::kReplicate, crop.size = 112;
  testing::Check(ssr::CutFaces(frame, crop, true, nullptr, nullptr, 0, nullptr));
  CheckRefused(ssr::CutFaces(frame, crop, true, boxes, nullptr, 2, crops.data()),
               "by five landmarks each: 2 expected, got 0");
}

// A picture of 4.8 GB, of which only the pages around its last pixels are ever touched.
void TestBeyondFourGigabytes() {
  constexpr int64_t kSide = 40000;
  constexpr size_t kBytes = kSide * kSide * 3;
  void* all =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return void(std::printf("no room for a picture of 4.8 GB\n"));
  ssr::Frame frame;
  auto* pixels = static_cast<uint8_t*>(all);
  frame.data = pixels, frame.height = kSide, frame.width = kSide;
  const float box[4] = {kSide - 64, kSide - 64, 63, 63};  // 64 x 64 pixels, the last ones
  ssr::Crop crop;
  std::fill(crop.margin, crop.margin + 4, 0.0);
  for (int64_t i = 0; i < 64 * 64 * 3; ++i) {
    pixels[((kSide - 64 + i / 192) * kSide + kSide - 64) * 3 + i % 192] = static_cast<uint8_t>(i * 7 / 3);
  }
  for (const ssr::FrameFormat format : {ssr::FrameFormat::kBgr, ssr::FrameFormat::kRgb}) {
    frame.format = format;
    std::vector<uint8_t> found(ssr::kImageBytes);
    testing::Check(
        ssr::CutFaces(frame, crop, format == ssr::FrameFormat::kRgb, box, nullptr, 1, found.data()));
    for (int64_t i = 0; i < ssr::kImageBytes; ++i) {
      CHECK(found[static_cast<size_t>(i)] == static_cast<uint8_t>(i * 7 / 3));
    }
  }
  munmap(all, kBytes);
}

void TestRandom(unsigned long iterations) {
  for (; iteration < iterations; ++iteration) {
    std::mt19937 random(static_cast<unsigned>(seed * 1000003 + iteration));
    std::vector<uint8_t> bytes(random() % 160);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long iterations = 3000;
  if (argc > 2) seed = std::strtoul(argv[1], nullptr, 10), iterations = std::strtoul(argv[2], nullptr, 10);
  if (argc > 3) iteration = std::strtoul(argv[3], nullptr, 10);
  TestFrames();
  TestFaces();
  TestBeyondFourGigabytes();
  std::signal(SIGABRT, SayWhere);
  TestRandom(iterations);
  bool all = true;
  for (int fate = 0; fate < fuzz::kFates; ++fate) {
    std::printf("%s%s %ld", fate > 0 ? ", " : "", fuzz::kFateNames[fate], fuzz::reached[fate]);
    all = all && fuzz::reached[fate] > 0;
  }
  std::printf("\n");
  if (!all && argc < 4) return std::fprintf(stderr, "a fate that no input met is not tested\n"), 1;
  return 0;
}
