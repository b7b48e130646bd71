// What both files of the backend's test program share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "check.h"

struct TRITONBACKEND_Request;

// The mode frame: frame_backend_test.cc.
void TestFrames();
// Hands the request to a model of frames that lives as long as the program, and waits until it is released.
void AskServedFrames(TRITONBACKEND_Request* request);

// A request made of bytes: frame_fuzz.cc.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
