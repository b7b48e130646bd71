#include "core/detections.h"

#include <algorithm>
#include <cmath>

#include "core/detector_model.h"

namespace ssr {
namespace {

constexpr double kLargestCoordinate = 1 << 24, kWithin = 0.7;

double Sigmoid(double logit) { return 1 / (1 + std::exp(-logit)); }

// Below this a logit's sigmoid is below `probability`, rounding included.
double LeastLogit(double probability) {
  return probability < 1 ? std::log(probability / (1 - probability)) - 1e-3 : 10;
}

bool IsSane(const Find& find) {
  const auto sane = [](double v) { return std::fabs(v) <= kLargestCoordinate; };  // false for NaN
  return std::all_of(std::begin(find.box), std::end(find.box), sane) &&
         std::all_of(std::begin(find.landmarks), std::end(find.landmarks), sane);
}

double Shared(const double* a, const double* b) {
  const double width = std::min(a[0] + a[2], b[0] + b[2]) - std::max(a[0], b[0]);
  const double height = std::min(a[1] + a[3], b[1] + b[3]) - std::max(a[1], b[1]);
  return std::max(width, 0.0) * std::max(height, 0.0);
}

// OpenCV compares boxes cut to whole numbers.
bool Overlaps(const Find& a, const Find& b, double most) {
  double left[4], right[4];
  for (int i = 0; i < 4; ++i) left[i] = std::trunc(a.box[i]), right[i] = std::trunc(b.box[i]);
  const double shared = Shared(left, right);
  return shared > most * (left[2] * left[3] + right[2] * right[3] - shared);
}

bool SameFace(const Find& a, const Find& b, double overlap) {
  const double shared = Shared(a.box, b.box);
  const double areas[] = {a.box[2] * a.box[3], b.box[2] * b.box[3]};
  return shared > 0 && (shared / (areas[0] + areas[1] - shared) > overlap ||
                        shared / std::min(areas[0], areas[1]) > kWithin);
}

bool IsInside(const Find& find, int64_t height, int64_t width) {
  const double* box = find.box;
  const double x = box[0] + box[2] / 2, y = box[1] + box[3] / 2;
  return std::all_of(box, box + 4, [](double v) { return std::isfinite(v); }) && box[2] >= 1 && box[3] >= 1 &&
         x >= 0 && x < static_cast<double>(width) && y >= 0 && y < static_cast<double>(height);
}

// As std::stable_sort, without its memory.
template <typename Before>
void Sort(size_t begin, Before before, std::vector<Find>* finds) {
  for (size_t i = begin; i < finds->size(); ++i) (*finds)[i].place = i;
  std::sort(
      finds->begin() + static_cast<std::ptrdiff_t>(begin), finds->end(),
      [&](const Find& a, const Find& b) { return before(a, b) || (!before(b, a) && a.place < b.place); });
}

bool Stronger(const Find& a, const Find& b) { return a.score > b.score; }

bool LeftOf(const Find& a, const Find& b) {
  const double ax = a.box[0] + a.box[2] / 2, bx = b.box[0] + b.box[2] / 2;
  return ax < bx || (ax == bx && a.box[1] < b.box[1]);
}

// Of finds [begin, ...), each that is the same as no kept one before it.
template <typename Same>
void Suppress(size_t begin, Same same, std::vector<Find>* finds) {
  size_t kept = begin;
  for (size_t i = begin; i < finds->size(); ++i) {
    const Find find = (*finds)[i];
    const auto first = finds->begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = finds->begin() + static_cast<std::ptrdiff_t>(kept);
    if (std::none_of(first, last, [&](const Find& k) { return same(find, k); })) (*finds)[kept++] = find;
  }
  finds->resize(kept);
}

}  // namespace

void SizesSearched(int64_t height, int64_t width, const std::vector<int>& scales, std::vector<Size>* sizes) {
  sizes->clear();
  const int64_t longest = std::max(height, width);
  for (const int scale : scales) {
    const double factor = std::min(1.0, scale / static_cast<double>(longest));
    const auto side = [&](int64_t pixels) {  // half to even, as Python rounds
      return std::max<int64_t>(1, std::llrint(static_cast<double>(pixels) * factor));
    };
    const Size size{side(height), side(width)};
    if (std::min(size.height, size.width) >= kSmallestSide) sizes->push_back(size);
    if (scale >= longest) return;
  }
}

void Decode(const float* cells, int rows, int columns, int stride, double threshold,
            std::vector<Find>* finds) {
  const auto least = static_cast<float>(LeastLogit(threshold * threshold));
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column, cells += kCellValues) {
      if (!(cells[0] >= least && cells[1] >= least)) continue;
      Find find;
      find.score = std::sqrt(Sigmoid(cells[0]) * Sigmoid(cells[1]));
      if (!(find.score >= threshold)) continue;
      find.box[2] = std::exp(double{cells[4]}) * stride;
      find.box[3] = std::exp(double{cells[5]}) * stride;
      find.box[0] = (column + double{cells[2]}) * stride - find.box[2] / 2;
      find.box[1] = (row + double{cells[3]}) * stride - find.box[3] / 2;
      for (int i = 0; i < 10; i += 2) {
        find.landmarks[i] = (column + double{cells[6 + i]}) * stride;
        find.landmarks[i + 1] = (row + double{cells[7 + i]}) * stride;
      }
      if (IsSane(find)) finds->push_back(find);
    }
  }
}

void KeepBest(size_t begin, int most, double overlap, std::vector<Find>* finds) {
  Sort(begin, Stronger, finds);
  finds->resize(std::min(finds->size(), begin + static_cast<size_t>(most)));
  Suppress(begin, [&](const Find& a, const Find& b) { return Overlaps(a, b, overlap); }, finds);
}

void KeepFaces(int64_t height, int64_t width, double overlap, std::vector<Find>* finds) {
  finds->erase(std::remove_if(finds->begin(), finds->end(),
                              [&](const Find& find) { return !IsInside(find, height, width); }),
               finds->end());
  Sort(0, Stronger, finds);
  Suppress(0, [&](const Find& a, const Find& b) { return SameFace(a, b, overlap); }, finds);
  Sort(0, LeftOf, finds);
}

}  // namespace ssr
