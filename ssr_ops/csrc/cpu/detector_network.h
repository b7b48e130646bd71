// YuNet on the CPU: packed weights, and a run over one picture, on one thread or several.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/aligned.h"
#include "core/pack.h"
#include "core/thread_pool.h"
#include "cpu/detector_chain.h"
#include "ssr/detector.h"
#include "ssr/implementation.h"

namespace ssr::cpu {

constexpr int kDetectorLevels = 3;

// The maps of one picture and what each thread works in; grows to the largest picture that it is used for.
class DetectorMaps {
 public:
  // Sides: multiples of 32.
  void Resize(int64_t height, int64_t width);

  int height(int level) const { return static_cast<int>(height_ >> (3 + level)); }
  int width(int level) const { return static_cast<int>(width_ >> (3 + level)); }
  const float* cells(int level) const { return cells_[level].data; }

 private:
  friend class DetectorNetwork;
  struct Room {
    AlignedFloats floats;
    float* data = nullptr;
    int64_t size = 0;
    void Reserve(int64_t count);
  };
  int64_t height_ = 0, width_ = 0;
  Room pooled_[kDetectorLevels];  // what a stage begins with
  Room backbone_[kDetectorLevels - 1];
  Room neck_[kDetectorLevels];   // the finest is not stored
  Room cells_[kDetectorLevels];  // (rows, columns, kCellValues)
  std::vector<Room> work_;       // of each thread
};

class DetectorNetwork {
 public:
  DetectorNetwork(const DetectorModel& model, Isa isa);

  // picture: (height, width, 3) in BGR order, or RGB. Fills maps->cells.
  void Run(const uint8_t* picture, int64_t height, int64_t width, bool rgb, ThreadPool* pool, int threads,
           DetectorMaps* maps) const;

 private:
  struct Call;
  const DetectorUnit& UnitOf(const std::string& name) const { return units_.at(name); }
  DetectorUnit Pack(const DetectorModel& model, const std::vector<std::string>& names, int out, bool relu);
  void RunChain(const DetectorChain& chain, ThreadPool* pool, int threads, DetectorMaps* maps) const;

  PackStorage storage_;
  std::map<std::string, DetectorUnit> units_;
  DetectorStem bgr_, rgb_;
  ChainKernel kernel_;
};

// How a chain computes a rectangle of its last link's output.
ChainPlan PlanChain(const DetectorChain& chain, const Rectangle& rectangle);

}  // namespace ssr::cpu
