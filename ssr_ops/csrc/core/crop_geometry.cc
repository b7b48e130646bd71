#include "core/crop_geometry.h"

#include <algorithm>
#include <cmath>
#include <locale>
#include <sstream>
#include <string>

namespace ssr {
namespace {

constexpr int64_t kMaxSide = 1 << 16;         // pixels a side that a crop may cover beyond a frame
constexpr double kFarthest = 1 << 24;         // pixels from the frame's corner of an aligned crop
constexpr double kFlattest = 1e-3;            // of five points' extents, squared: less is a line
constexpr double kBeyond = int64_t{1} << 40;  // farther than any frame reaches, and whole numbers in double

// As Python's format(value, "g"), whatever the locale.
std::string Text(double value) {
  if (std::isnan(value)) return "nan";
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text << value;
  return text.str();
}

Status Bad(std::string what) { return {Code::kInvalidArgument, std::move(what)}; }

struct Points {
  double mean_x, mean_y;
  double x[kLandmarks], y[kLandmarks];  // from the mean
};

Points Centred(const double points[kLandmarks][2]) {
  Points centred = {};
  double mx = 0, my = 0;
  for (int i = 0; i < kLandmarks; ++i) mx = mx + points[i][0], my = my + points[i][1];
  centred.mean_x = mx / kLandmarks, centred.mean_y = my / kLandmarks;
  for (int i = 0; i < kLandmarks; ++i) {
    centred.x[i] = points[i][0] - centred.mean_x;
    centred.y[i] = points[i][1] - centred.mean_y;
  }
  return centred;
}

// floor, of any finite number.
int64_t Floor(double value) { return static_cast<int64_t>(std::clamp(std::floor(value), -kBeyond, kBeyond)); }

Span Clipped(const Span& span, int64_t size) {
  return {std::max(span.begin, int64_t{0}), std::min(span.end, size)};
}

bool IsEmpty(const Span& span) { return span.begin >= span.end; }

}  // namespace

bool IsLine(const double points[kLandmarks][2]) {
  const Points centred = Centred(points);
  double xx = 0, yy = 0, xy = 0;
  for (int i = 0; i < kLandmarks; ++i) {
    const double x = centred.x[i], y = centred.y[i];
    xx = xx + x * x, yy = yy + y * y, xy = xy + x * y;
  }
  const double total = xx + yy;
  return !(4 * (xx * yy - xy * xy) > kFlattest * (total * total));
}

Status FindPart(const float* box, const Crop& crop, int64_t height, int64_t width, int64_t m, Part* part) {
  const double x = box[0], y = box[1], w = box[2], h = box[3];
  const auto bad = [&](const char* what) {
    return Bad("box " + std::to_string(m) + ": (" + Text(x) + ", " + Text(y) + ", " + Text(w) + ", " +
               Text(h) + ") " + what);
  };
  if (!(std::isfinite(x) && std::isfinite(y) && std::isfinite(w) && std::isfinite(h) && w > 0 && h > 0)) {
    return bad("has no area");
  }
  const double left = crop.margin[0], top = crop.margin[1], right = crop.margin[2], bottom = crop.margin[3];
  // Finite: floats come nowhere near the end of double.
  part->rows = {Floor(y - top * h), Floor(y + h + bottom * h) + 1};
  part->columns = {Floor(x - left * w), Floor(x + w + right * w) + 1};
  const Part clipped = {Clipped(part->rows, height), Clipped(part->columns, width)};
  if (IsEmpty(clipped.rows) || IsEmpty(clipped.columns)) return bad("lies outside the picture");
  if (crop.border == Border::kClip) {
    *part = clipped;
  } else if (std::max(part->rows.end - part->rows.begin, part->columns.end - part->columns.begin) >
             kMaxSide) {
    return bad("is too large, expected a cut of at most 65,536 pixels a side");
  }
  return {};
}

Status FindGrid(const float* landmarks, const Crop& crop, int64_t m, Grid* grid) {
  const auto bad = [&](const std::string& what) {
    return Bad("face " + std::to_string(m) + ": landmarks: " + what);
  };
  double points[kLandmarks][2], goals[kLandmarks][2];
  const double share = static_cast<double>(kImageSize) / crop.size;
  for (int i = 0; i < kLandmarks; ++i) {
    for (int k = 0; k < 2; ++k) {
      points[i][k] = landmarks[2 * i + k];
      goals[i][k] = crop.points[i][k] * share;
      if (!(std::fabs(points[i][k]) <= kFarthest)) {
        return bad("expected positions within " + Text(kFarthest) + " pixels");
      }
    }
  }
  if (IsLine(points)) {
    return bad("the five points lie on one line, so that no face can be aligned by them");
  }
  const Points picture = Centred(points), goal = Centred(goals);
  double along = 0, across = 0, length = 0;
  for (int i = 0; i < kLandmarks; ++i) {
    const double x = picture.x[i], y = picture.y[i], u = goal.x[i], v = goal.y[i];
    along = along + (x * u + y * v);
    across = across + (x * v - y * u);
    length = length + (x * x + y * y);
  }
  const double turned = along * along + across * across;
  if (!(turned > 0)) return bad("no similarity brings them to the template");
  // Pixels of the picture a pixel of the crop: the inverse of (along, across) / length.
  const double dx = along * length / turned, dy = -(across * length / turned);
  const double u = 0.5 - goal.mean_x, v = 0.5 - goal.mean_y;
  const double x = picture.mean_x + (u * dx - v * dy) - 0.5, y = picture.mean_y + (u * dy + v * dx) - 0.5;
  const auto near = [](double value) { return std::fabs(value) <= kFarthest; };
  if (!(near(x) && near(y) && near(kImageSize * dx) && near(kImageSize * dy))) {
    return bad("the aligned crop would lie beyond " + Text(kFarthest) + " pixels");
  }
  const auto whole = [](double value) {
    return static_cast<int64_t>(std::floor(value * (1 << kPositionBits) + 0.5));
  };
  *grid = {whole(x), whole(y), whole(dx), whole(dy)};
  return {};
}

void FindBlends(const Span& span, int64_t size, Border border, Blend* blends) {
  const int64_t pixels = span.end - span.begin;
  const double step = 1.0 / (kImageSize / static_cast<double>(pixels));
  const auto weight = [](float share) {
    return static_cast<int32_t>(std::nearbyint(share * static_cast<float>(1 << kWeightBits)));
  };
  for (int i = 0; i < kImageSize; ++i) {
    const auto where = static_cast<float>((i + 0.5) * step - 0.5);
    const float first = std::floor(where), second_share = where - first;
    Blend& blend = blends[i];
    blend.first_weight = weight(1.0f - second_share);
    blend.second_weight = weight(second_share);
    const auto place = [&](int64_t pixel, int64_t* found, int32_t* share) {
      pixel = span.begin + std::clamp(pixel, int64_t{0}, pixels - 1);
      *found = std::clamp(pixel, int64_t{0}, size - 1);
      if (border == Border::kConstant && pixel != *found) *share = 0;
    };
    place(static_cast<int64_t>(first), &blend.first, &blend.first_weight);
    place(static_cast<int64_t>(first) + 1, &blend.second, &blend.second_weight);
  }
}

}  // namespace ssr
