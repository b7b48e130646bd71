// What the network's numbers say, and which of its finds are faces: as ssr_ops/detector_reference.py and
// ssr_bundle/detections.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ssr/detector.h"

namespace ssr {

constexpr int kSmallestSide = 8;  // a picture narrower than this is not searched: ssr_bundle/detections.py

// x, y, width, height; pixels of the picture.
struct Find {
  double box[4], score, landmarks[10];
  size_t place;  // while finds are sorted
};

struct Size {
  int64_t height, width;
};

// The copies of a picture that are searched for faces, smallest first; at most one a scale.
void SizesSearched(int64_t height, int64_t width, const std::vector<int>& scales, std::vector<Size>* sizes);

// Appends what a stride's cells (rows, columns, kCellValues) say with a score of `threshold` or more. Finds
// with numbers that no picture can have are dropped.
void Decode(const float* cells, int rows, int columns, int stride, double threshold,
            std::vector<Find>* finds);

// Keeps of the finds behind `begin`, those of one picture, the `most` best, and of these each that overlaps
// no better one by more than `overlap`, strongest first.
void KeepBest(size_t begin, int most, double overlap, std::vector<Find>* finds);

// Keeps the faces among the finds of all copies of a picture, each once, from left to right.
void KeepFaces(int64_t height, int64_t width, double overlap, std::vector<Find>* finds);

}  // namespace ssr
