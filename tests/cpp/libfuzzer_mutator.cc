// libFuzzer's mutations, and ours, which know the bundle's structure.
#include <cstring>

#include "bundle_mutator.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned int seed) {
  fuzz::Random random(seed);
  if (random() % 4 == 0) return LLVMFuzzerMutate(data, size, most);
  fuzz::Input input = fuzz::Unpack(data, size);
  const fuzz::Input other = input;
  fuzz::Mutate(&random, other, &input);
  const std::string bytes = fuzz::Pack(input);
  if (bytes.size() > most) return LLVMFuzzerMutate(data, size, most);
  std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}
