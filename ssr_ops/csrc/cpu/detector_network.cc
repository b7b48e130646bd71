#include "cpu/detector_network.h"

#include <algorithm>

#include "core/detector_model.h"

namespace ssr::cpu {
namespace {

ChainKernel KernelFor(Isa isa) {
  switch (isa) {
#ifdef SSR_X86
    case Isa::kAvx512:
      return RunChainAvx512;
    case Isa::kAvx2:
      return RunChainAvx2;
#endif
    default:
      return RunChainPortable;
  }
}

// Columns of a chain's last map that are computed together. Narrower strips, whose rings would fit a
// second-level cache, gain less than the columns between them cost, which are computed twice.
constexpr int kStrip = 400;
constexpr int kLeastBand = 8;  // rows that a thread takes

// Rows of the frame, columns and colours as they lie in it.
void PackStem(const Tensor& weight, bool rgb, float* out) {
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      for (int colour = 0; colour < 3; ++colour) {
        const int of = rgb ? 2 - colour : colour;
        for (int channel = 0; channel < kFewChannels; ++channel) {
          *out++ = weight.values[static_cast<size_t>(((channel * 3 + of) * 3 + row) * 3 + column)];
        }
      }
    }
  }
}

}  // namespace

// A chain's map in strips of columns and bands of rows, one task each.
struct DetectorNetwork::Call {
  const DetectorNetwork* network;
  const DetectorChain* chain;
  DetectorMaps* maps;
  int strips, bands;

  ChainPlan Plan(int64_t task) const {
    const DetectorChain::Link& last = chain->links[chain->count - 1];
    const int strip = static_cast<int>(task % strips), band = static_cast<int>(task / strips);
    return PlanChain(*chain, {Border(last.height, band, bands), Border(last.height, band + 1, bands),
                              Border(last.width, strip, strips), Border(last.width, strip + 1, strips)});
  }
  // Where a part begins: whole blocks of columns, whole cells of pools.
  static int Border(int whole, int part, int parts) {
    return part == parts ? whole : static_cast<int>(int64_t{whole} * part / parts / 4 * 4);
  }
};

void DetectorMaps::Room::Reserve(int64_t count) {
  if (count <= size) return;
  floats = MakeAligned(count);
  data = floats.get();
  size = count;
}

void DetectorMaps::Resize(int64_t height, int64_t width) {
  height_ = height;
  width_ = width;
  for (int level = 0; level < kDetectorLevels; ++level) {
    const int64_t cells = int64_t{this->height(level)} * this->width(level);
    pooled_[level].Reserve(cells * kManyChannels);
    if (level + 1 < kDetectorLevels) backbone_[level].Reserve(cells * kManyChannels);
    if (level > 0) neck_[level].Reserve(cells * kManyChannels);
    cells_[level].Reserve(cells * kCellValues);
  }
}

DetectorNetwork::DetectorNetwork(const DetectorModel& model, Isa isa) : kernel_(KernelFor(isa)) {
  const Tensor &weight = model.parameters.at("stem.weight"), &bias = model.parameters.at("stem.bias");
  float *bgr = storage_.Floats(27 * kFewChannels), *rgb = storage_.Floats(27 * kFewChannels);
  PackStem(weight, false, bgr);
  PackStem(weight, true, rgb);
  const float* packed_bias = storage_.Padded(bias.values);
  bgr_ = {bgr, packed_bias};
  rgb_ = {rgb, packed_bias};
  const auto add = [&](const std::string& name, int out) { units_[name] = Pack(model, {name}, out, true); };
  add("stem.unit", kFewChannels);
  add("backbone.1.0", kFewChannels);
  for (const char* name : {"1.1", "2.0", "2.1", "3.0", "3.1", "4.0", "4.1", "5.0", "5.1"}) {
    add(std::string("backbone.") + name, kManyChannels);
  }
  for (const int stride : kDetectorStrides) {
    const std::string of = "." + std::to_string(stride);
    add("neck" + of, kManyChannels);
    add("shared" + of, kManyChannels);
    std::vector<std::string> heads;
    for (const char* head : kDetectorHeads) heads.push_back(head + of);
    units_["cells" + of] = Pack(model, heads, kCellValues, false);
  }
}

// Units that read the same map, their outputs side by side.
DetectorUnit DetectorNetwork::Pack(const DetectorModel& model, const std::vector<std::string>& names, int out,
                                   bool relu) {
  const int in = static_cast<int>(model.parameters.at(names[0] + ".point.weight").shape[1]);
  float *point = storage_.Floats(int64_t{in} * out), *point_bias = storage_.Floats(out);
  float *depth = storage_.Floats(int64_t{9} * out), *depth_bias = storage_.Floats(out);
  int first = 0;
  for (const std::string& name : names) {
    const auto values = [&](const char* kind) { return model.parameters.at(name + kind).values.data(); };
    const int count = static_cast<int>(model.parameters.at(name + ".point.bias").shape[0]);
    for (int o = 0; o < count; ++o) {
      for (int i = 0; i < in; ++i) point[i * out + first + o] = values(".point.weight")[o * in + i];
      for (int k = 0; k < 9; ++k) depth[k * out + first + o] = values(".depth.weight")[o * 9 + k];
      point_bias[first + o] = values(".point.bias")[o];
      depth_bias[first + o] = values(".depth.bias")[o];
    }
    first += count;
  }
  return {point, point_bias, depth, depth_bias, in, out, relu};
}

void DetectorNetwork::Run(const uint8_t* picture, int64_t height, int64_t width, bool rgb, ThreadPool* pool,
                          int threads, DetectorMaps* maps) const {
  const auto padded = [](int64_t side) {
    return (side + kDetectorMultiple - 1) / kDetectorMultiple * kDetectorMultiple;
  };
  maps->Resize(padded(height), padded(width));
  maps->work_.resize(static_cast<size_t>(threads));

  const auto add = [&](DetectorChain* chain, const std::string& name, int divisor, bool pool_after,
                       float* stored) {
    const int rows = static_cast<int>(maps->height_ / divisor);
    const int columns = static_cast<int>(maps->width_ / divisor);
    chain->links[chain->count++] = {UnitOf(name), rows, columns, pool_after, stored};
  };
  const auto run = [&](const DetectorChain& chain) { RunChain(chain, pool, threads, maps); };
  const auto data = [](const DetectorMaps::Room& room) { return room.data; };

  DetectorChain start = {};
  start.stem = rgb ? &rgb_ : &bgr_;
  start.frame = picture;
  start.frame_height = static_cast<int>(height);
  start.frame_width = static_cast<int>(width);
  add(&start, "stem.unit", 2, true, nullptr);
  add(&start, "backbone.1.0", 4, false, nullptr);
  add(&start, "backbone.1.1", 4, false, nullptr);
  add(&start, "backbone.2.0", 4, false, nullptr);
  add(&start, "backbone.2.1", 4, true, nullptr);
  start.pooled = data(maps->pooled_[0]);
  run(start);

  for (int level = 0; level < kDetectorLevels; ++level) {
    const int stride = kDetectorStrides[level];
    const std::string stage = "backbone." + std::to_string(level + 3), of = "." + std::to_string(stride);
    DetectorChain chain = {};
    chain.source = data(maps->pooled_[level]);
    add(&chain, stage + ".0", stride, false, nullptr);
    if (level + 1 < kDetectorLevels) {
      add(&chain, stage + ".1", stride, true, data(maps->backbone_[level]));
      chain.pooled = data(maps->pooled_[level + 1]);
    } else {
      add(&chain, stage + ".1", stride, false, nullptr);
      add(&chain, "neck" + of, stride, false, data(maps->neck_[level]));
      add(&chain, "shared" + of, stride, false, nullptr);
      add(&chain, "cells" + of, stride, false, data(maps->cells_[level]));
    }
    run(chain);
  }
  for (int level = kDetectorLevels - 2; level >= 0; --level) {
    const int stride = kDetectorStrides[level];
    const std::string of = "." + std::to_string(stride);
    DetectorChain chain = {};
    chain.source = data(maps->backbone_[level]);
    chain.halved = data(maps->neck_[level + 1]);
    add(&chain, "neck" + of, stride, false, level > 0 ? data(maps->neck_[level]) : nullptr);
    add(&chain, "shared" + of, stride, false, nullptr);
    add(&chain, "cells" + of, stride, false, data(maps->cells_[level]));
    run(chain);
  }
}

void DetectorNetwork::RunChain(const DetectorChain& chain, ThreadPool* pool, int threads,
                               DetectorMaps* maps) const {
  const DetectorChain::Link& last = chain.links[chain.count - 1];
  const int strips = (last.width + kStrip - 1) / kStrip;
  const Call call{this, &chain, maps, strips, std::clamp(last.height / kLeastBand, 1, threads)};
  int64_t most = 0;
  for (int strip = 0; strip < strips; ++strip) most = std::max(most, call.Plan(strip).floats);
  for (DetectorMaps::Room& room : maps->work_) room.Reserve(most);
  pool->Run(
      int64_t{strips} * call.bands,
      [](void* context, int64_t task, int worker) {
        const Call& c = *static_cast<const Call*>(context);
        float* work = c.maps->work_[static_cast<size_t>(worker + 1)].data;
        c.network->kernel_(*c.chain, c.Plan(task), work);
      },
      const_cast<Call*>(&call));
}

}  // namespace ssr::cpu
