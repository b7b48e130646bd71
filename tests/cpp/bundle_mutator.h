// Makes wrong bundles of right ones: in the JSON's tree, in its text, in the weights, and in how they fit.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "bundle_fuzz.h"

namespace fuzz {

using Random = std::mt19937_64;

// The bundle at `folder` as an input: sizes and hashes as the target wants them, other files left out.
Input ReadSeed(const std::string& folder);

// One change of `input`; `other` gives material to splice in.
void Mutate(Random* random, const Input& other, Input* input);

// Random weights that fit the contract's network, if it is one of moderate size, and a quantization that fits
// it too: so that networks of every shape get past the checks.
void Refit(Random* random, Input* input);

}  // namespace fuzz
