// An engine whose answers say which bytes it was given, and a detector that a frame tells what to find.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace fake {

// What an image "is": the sum of its bytes, which float32 holds exactly.
float Answer(const uint8_t* image);

enum class Trouble { kNone, kStatus, kException, kOutOfMemory };
extern Trouble trouble;             // of the next Predict calls
extern std::vector<int64_t> calls;  // images of each Predict call

// The detector finds as many faces as a frame's first byte says, the i-th at x = i; a crop's bytes all are
// the frame's second one and x together.
extern Trouble blindness;          // of the next Detect calls
extern std::atomic<int> searches;  // Detect calls so far
extern std::atomic<bool> held;     // Detect calls wait while it is set

}  // namespace fake
