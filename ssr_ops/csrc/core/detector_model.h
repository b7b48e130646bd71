// The detector's contract and its network's shape, as ssr_bundle/detector.py.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/bundle_files.h"
#include "ssr/detector.h"

namespace ssr {

constexpr int kDetectorMultiple =
    32;  // frames are padded by zeros, right and below, to this: the largest stride
constexpr int kDetectorStrides[] = {8, 16, 32};
constexpr int kDetectorStem = 16, kDetectorWidth = 64;

// What the network says of a cell: cls, obj, bbox (4), kps (10).
constexpr int kCellValues = 16;
constexpr const char* kDetectorHeads[] = {"cls", "obj", "bbox", "kps"};
constexpr int kDetectorHeadValues[] = {1, 1, 4, 10};

// Fills every field of `model` but the parameters and weights_sha256. Messages do not name the file.
Status ParseDetectorContract(const std::string& text, DetectorModel* model,
                             std::map<std::string, FileEntry>* files);

// Name and shape of every stored array.
Shapes DetectorShapes();

// kInvalidArgument unless a frame can be searched so.
Status CheckSearch(const SearchOptions& search);

}  // namespace ssr
