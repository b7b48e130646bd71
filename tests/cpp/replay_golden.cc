// A bundle's face crops in every precision and implementation of this CPU, against the answers of the float64
// reference that the bundle recorded. Usage: replay_golden BUNDLE FOLDER PRECISION=TOLERANCE...
// Tolerances are in the answer's unit; every precision that runs must have one. Writes what each image of the
// golden record gave to FOLDER/PRECISION-IMPLEMENTATION: float32, a row an image: value, p, eta, delta.
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "core_testing.h"

namespace {

// golden.safetensors: only this program reads it in C++, so it trusts the bundle and checks only its use.
class Golden {
 public:
  explicit Golden(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    CHECK(stream.good());
    bytes_.assign(std::istreambuf_iterator<char>(stream), {});
    uint64_t size = 0;
    CHECK(bytes_.size() > 8);
    std::memcpy(&size, bytes_.data(), 8);
    CHECK(size <= bytes_.size() - 8);
    header_ = nlohmann::json::parse(bytes_.data() + 8, bytes_.data() + 8 + size);
    data_ = 8 + static_cast<size_t>(size);
  }

  size_t Rows(const char* name) const { return header_.at(name).at("shape").at(0); }

  template <typename T>
  std::vector<T> Array(const char* name, const char* type) const {
    const nlohmann::json& entry = header_.at(name);
    CHECK(entry.at("dtype") == type);
    const size_t begin = entry.at("data_offsets").at(0), end = entry.at("data_offsets").at(1);
    CHECK(begin <= end && data_ + end <= bytes_.size());
    std::vector<T> values((end - begin) / sizeof(T));
    std::memcpy(values.data(), bytes_.data() + data_ + begin, end - begin);
    return values;
  }

 private:
  std::string bytes_;
  nlohmann::json header_;
  size_t data_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, double> tolerances;
  if (argc < 4) return std::fprintf(stderr, "usage: %s BUNDLE FOLDER PRECISION=TOLERANCE...\n", argv[0]), 2;
  for (int i = 3; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) return std::fprintf(stderr, "%s: expected P=TOLERANCE\n", argv[i]), 2;
    tolerances[argument.substr(0, equals)] = std::strtod(argument.c_str() + equals + 1, nullptr);
  }
  const std::shared_ptr<const ssr::Model> model = testing::LoadModel(argv[1]);
  const Golden golden(std::string(argv[1]) + "/golden.safetensors");
  const std::vector<uint8_t> pictures = golden.Array<uint8_t>("images", "U8");
  const std::vector<double> expected = golden.Array<double>("output", "F64");
  const std::vector<const uint8_t*> images = testing::Pointers(pictures);
  const size_t crops = golden.Rows("crops");  // the first of the images; the others are noise and patterns
  CHECK(crops > 0 && crops <= images.size() && expected.size() == images.size());
  bool good = true;
  for (const testing::Kind& kind : testing::Kinds(*model)) {
    const auto tolerance = tolerances.find(kind.precision);
    if (tolerance == tolerances.end()) {
      return std::fprintf(stderr, "no tolerance for %s\n", kind.precision.c_str()), 2;
    }
    const auto engine = testing::MakeEngine(model, kind, 1);
    const auto rows = testing::PredictRows(engine.get(), images.data(), static_cast<int64_t>(images.size()));
    CHECK(rows.size() == images.size());
    std::ofstream file(std::string(argv[2]) + "/" + kind.precision + "-" + kind.implementation,
                       std::ios::binary);
    double worst = 0;
    for (size_t i = 0; i < images.size(); ++i) {
      for (const float value : rows[i]) CHECK(std::isfinite(value));
      file.write(reinterpret_cast<const char*>(rows[i].data()),
                 static_cast<std::streamsize>(rows[i].size() * sizeof(float)));
      const double drift = std::fabs(double{rows[i][0]} - expected[i]);
      if (i < crops) worst = drift > worst ? drift : worst;
    }
    file.close();
    CHECK(file.good());
    const bool close = worst <= tolerance->second;
    std::printf("%s: off by %.3g on %zu crops, allowed %.3g%s\n", kind.Text().c_str(), worst, crops,
                tolerance->second, close ? "" : ": too much");
    good = good && close;
  }
  return good ? 0 : 1;
}
