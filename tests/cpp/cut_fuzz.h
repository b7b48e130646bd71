// A fuzz target over cutting: any bytes are a frame, a crop and faces, which are cut or refused.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fuzz {

// What became of the inputs so far.
enum Fate { kNoArea, kOutside, kTooLarge, kFar, kOnLine, kWhole, kBeyond, kAligned, kFates };

constexpr const char* kFateNames[kFates] = {"no area", "outside", "too large", "far",
                                            "on line", "whole",   "beyond",    "aligned"};

extern long reached[kFates];

}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
