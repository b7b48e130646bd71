// The sizes of the network's maps: the picture, then what each block of a stream leaves of it.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define SSR_HOST_DEVICE __host__ __device__
#else
#define SSR_HOST_DEVICE
#endif

namespace ssr {

constexpr int kImageSize = 64, kImageRow = kImageSize * 3;  // kImageRow: bytes
constexpr int64_t kImageBytes = int64_t{kImageSize} * kImageRow;

constexpr int kBlocks = 4;  // convolution blocks in a stream (paper, Figure 1a)

// A block's 3x3 convolution takes no padding; a 2x2 pool of whole windows follows in all blocks but the last.
constexpr int Convolved(int size) { return size - 2; }
constexpr int kMap0 = Convolved(kImageSize) / 2, kMap1 = Convolved(kMap0) / 2, kMap2 = Convolved(kMap1) / 2;
constexpr int kMap3 = Convolved(kMap2);
constexpr int kMapSizes[kBlocks] = {kMap0, kMap1, kMap2, kMap3};

// The side of the map after `block`; on a GPU too, which has no array of constants.
SSR_HOST_DEVICE constexpr int MapSize(int block) {
  return block == 0 ? kMap0 : block == 1 ? kMap1 : block == 2 ? kMap2 : kMap3;
}

}  // namespace ssr
