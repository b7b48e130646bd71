// An engine whose answers say which bytes it was given.
#pragma once

#include <cstdint>
#include <vector>

namespace fake {

// What an image "is": the sum of its bytes, which float32 holds exactly.
float Answer(const uint8_t* image);

enum class Trouble { kNone, kStatus, kException, kOutOfMemory };
extern Trouble trouble;             // of the next Predict calls
extern std::vector<int64_t> calls;  // images of each Predict call

}  // namespace fake
