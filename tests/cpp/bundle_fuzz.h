// A fuzz target over the bundle reader: what it takes, and how deep each input got.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fuzz {

// An input: contract.json behind its length (four bytes, little-endian), then model.safetensors.
struct Input {
  std::string contract, model;
};

Input Unpack(const uint8_t* data, size_t size);
std::string Pack(const Input& input);

// In a contract, this number stands for the size of the weights, and this for every SHA-256: hashes would
// stop nearly all mutants at the door.
constexpr char kSize[] = "424242424";
constexpr char kHash[] = "0000000000000000000000000000000000000000000000000000000000000000";

// Who had the last word on an input.
enum Depth { kContract, kFiles, kSafetensors, kParameters, kEngine, kAnswered, kDepths };

constexpr const char* kDepthNames[kDepths] = {"contract",   "files",  "safetensors",
                                              "parameters", "engine", "answered"};

extern long reached[kDepths];

}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
