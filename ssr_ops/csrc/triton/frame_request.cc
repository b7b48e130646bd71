#include "triton/frame_request.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "triton/device_memory.h"

namespace ssr::triton {
namespace {

// What the request's parameters say; empty where they say nothing.
struct Said {
  std::string format, matrix, range;
  std::optional<float> threshold;
  std::vector<int> scales;
};

Error Parameter(const std::string& key, const std::string& expected) {
  return Invalid("request parameter " + key + ": expected " + expected);
}

// One of `choices`, which is asked for where it is not said.
Error Choose(const std::string& key, const std::string& said, const std::vector<const char*>& choices,
             const std::string& why, size_t* chosen) {
  std::string names;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (said == choices[i]) {
      *chosen = i;
      return nullptr;
    }
    names += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + std::string(choices[i]);
  }
  if (said.empty()) return Invalid("request parameter " + key + " is missing, expected " + names + why);
  std::string shown = said.substr(0, 40);
  for (char& c : shown) c = c >= ' ' && c <= '~' ? c : '?';
  return Parameter(key, names + ", got '" + shown + "'");
}

Error TakeThreshold(TRITONSERVER_ParameterType type, const void* value, Said* said) {
  double threshold = 0;
  if (type == TRITONSERVER_PARAMETER_DOUBLE) {
    threshold = *static_cast<const double*>(value);
  } else if (type == TRITONSERVER_PARAMETER_STRING) {  // of clients that have no parameter of this type
    const char* text = static_cast<const char*>(value);
    char* end = nullptr;
    threshold = std::strtod(text, &end);
    if (end == text || *end != '\0') threshold = 0;
  }
  if (!(threshold >= kLeastThreshold && threshold <= 1)) {
    return Parameter("threshold", "a number in " + std::to_string(kLeastThreshold).substr(0, 4) + "..1");
  }
  said->threshold = static_cast<float>(threshold);
  return nullptr;
}

// "640" or "640,1600", rising.
Error TakeScales(TRITONSERVER_ParameterType type, const void* value, Said* said) {
  std::string text;
  if (type == TRITONSERVER_PARAMETER_INT) text = std::to_string(*static_cast<const int64_t*>(value));
  if (type == TRITONSERVER_PARAMETER_STRING) text = static_cast<const char*>(value);
  const auto refused = [] {
    return Parameter("scales", "1 to " + std::to_string(kMostScales) + " rising whole numbers in " +
                                   std::to_string(kSmallestScale) + ".." + std::to_string(kLargestScale) +
                                   " with commas, such as 640,1600");
  };
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string digits = text.substr(begin, end - begin);
    if (digits.empty() || digits.size() > 4 || digits.find_first_not_of("0123456789") != std::string::npos) {
      return refused();
    }
    const int scale = std::stoi(digits);
    if (scale < kSmallestScale || scale > kLargestScale) return refused();
    if (!said->scales.empty() && scale <= said->scales.back()) return refused();
    if (said->scales.size() == kMostScales) return refused();
    said->scales.push_back(scale);
    begin = end + 1;
  }
  return nullptr;
}

Error ReadSaid(TRITONBACKEND_Request* handle, Said* said) {
  return EachParameter(
      handle, [&](std::string_view key, TRITONSERVER_ParameterType type, const void* value) -> Error {
        if (key == "threshold") return TakeThreshold(type, value, said);
        if (key == "scales") return TakeScales(type, value, said);
        for (const auto& [name, text] :
             {std::pair{"format", &said->format}, {"matrix", &said->matrix}, {"range", &said->range}}) {
          if (key != name) continue;
          if (type != TRITONSERVER_PARAMETER_STRING) return Parameter(name, "a string");
          *text = static_cast<const char*>(value);
        }
        return nullptr;
      });
}

// Format, matrix and range.
Error Interpret(const Said& said, Frame* frame) {
  size_t chosen = 0;
  const std::string why = ": the bytes cannot say it";
  if (Error error = Choose("format", said.format, {"bgr", "rgb", "nv12"}, why, &chosen)) return error;
  frame->format = chosen == 0 ? FrameFormat::kBgr : chosen == 1 ? FrameFormat::kRgb : FrameFormat::kNv12;
  if (frame->format != FrameFormat::kNv12) {
    if (!said.matrix.empty() || !said.range.empty()) {
      return Invalid("request parameters matrix and range belong to format nv12, not to " + said.format);
    }
    return nullptr;
  }
  if (Error error = Choose("matrix", said.matrix, {"bt601", "bt709"}, why, &chosen)) return error;
  frame->matrix = chosen == 0 ? YuvMatrix::kBt601 : YuvMatrix::kBt709;
  if (Error error = Choose("range", said.range, {"limited", "full"}, why, &chosen)) return error;
  frame->range = chosen == 0 ? YuvRange::kLimited : YuvRange::kFull;
  return nullptr;
}

Error Measure(const FrameLimits& limits, const std::vector<int64_t>& shape, Frame* frame) {
  const bool nv12 = frame->format == FrameFormat::kNv12;
  const bool fits = shape.size() == 3 && shape[0] >= 1 && shape[1] >= 1 && shape[2] == (nv12 ? 1 : 3) &&
                    (!nv12 || shape[0] % 3 == 0);
  if (!fits) {
    return Invalid("input 'frame' has shape " + ShapeText(shape) + ", expected " +
                   (nv12 ? "[height * 3 / 2, width, 1] of nv12" : "[height, width, 3]"));
  }
  frame->height = nv12 ? shape[0] / 3 * 2 : shape[0];
  frame->width = shape[1];
  if (frame->height > limits.frame_pixels / frame->width) {
    return Invalid("input 'frame' has " + std::to_string(frame->width) + " x " +
                   std::to_string(frame->height) + " pixels, this model takes at most " +
                   std::to_string(limits.frame_pixels) + " a frame (max_frame_pixels)");
  }
  return nullptr;
}

uint64_t Bytes(const std::vector<Buffer>& buffers) {
  uint64_t bytes = 0;
  for (const Buffer& buffer : buffers) bytes += buffer.size;
  return bytes;
}

Error CheckBytes(const std::string& name, const std::vector<Buffer>& buffers, uint64_t expected) {
  if (Bytes(buffers) == expected) return nullptr;
  return Invalid("input '" + name + "' holds " + std::to_string(Bytes(buffers)) + " bytes, expected " +
                 std::to_string(expected));
}

Error Copy(const std::string& name, const std::vector<Buffer>& buffers, void* to) {
  auto* at = static_cast<uint8_t*>(to);
  for (const Buffer& buffer : buffers) {
    if (buffer.on_device) {
      const Status copied = CopyToHost(at, buffer.data, buffer.size);
      if (Error error = MakeError(copied, "input '" + name + "' ")) return error;
    } else if (buffer.size > 0) {
      std::memcpy(at, buffer.data, buffer.size);
    }
    at += buffer.size;
  }
  return nullptr;
}

Error ReadPixels(const ModelState& state, const InputSpec& spec, FrameRequest* request) {
  InputData input;
  if (Error error = ReadInput(request->request.handle, spec, &input)) return error;
  Frame& frame = request->frame;
  if (Error error = Measure(state.config.limits, input.shape, &frame)) return error;
  const uint64_t pixels = static_cast<uint64_t>(frame.height) * static_cast<uint64_t>(frame.width);
  const uint64_t bytes = frame.format == FrameFormat::kNv12 ? pixels / 2 * 3 : pixels * 3;
  if (Error error = CheckBytes(spec.name, input.buffers, bytes)) return error;
  if (input.buffers.size() == 1 && !input.buffers[0].on_device) {
    frame.data = input.buffers[0].data;
  } else {
    request->copied.resize(bytes);
    if (Error error = Copy(spec.name, input.buffers, request->copied.data())) return error;
    frame.data = request->copied.data();
  }
  return MakeError(CheckFrame(frame), "input 'frame': ");
}

// The rows of an optional input of floats; no rows and false where it is not there.
Error ReadRows(const ModelState& state, const InputSpec& spec, FrameRequest* request,
               std::vector<float>* values, int64_t* rows, bool* there) {
  TRITONBACKEND_Request* handle = request->request.handle;
  *there = HasInput(handle, spec.name);
  if (!*there) return nullptr;
  InputData input;
  if (Error error = ReadInput(handle, spec, &input)) return error;
  bool fits = input.shape.size() == spec.dims.size() && input.shape[0] >= 0;
  int64_t width = 1;
  for (size_t i = 1; fits && i < spec.dims.size(); ++i) {
    fits = input.shape[i] == spec.dims[i];
    width *= spec.dims[i];
  }
  if (!fits) {
    return Invalid("input '" + spec.name + "' has shape " + ShapeText(input.shape) + ", expected " +
                   (spec.dims.size() == 2 ? "[faces, 4]: x, y, width, height" : "[faces, 5, 2]"));
  }
  *rows = input.shape[0];
  if (*rows > state.config.limits.boxes) {
    return Invalid("input '" + spec.name + "' has " + std::to_string(*rows) +
                   " rows, this model takes at most " + std::to_string(state.config.limits.boxes) +
                   " a frame (max_boxes)");
  }
  values->resize(static_cast<size_t>(*rows * width));
  const uint64_t bytes = values->size() * sizeof(float);
  if (Error error = CheckBytes(spec.name, input.buffers, bytes)) return error;
  return Copy(spec.name, input.buffers, values->data());
}

Error ReadFaces(const ModelState& state, FrameRequest* request) {
  const std::vector<InputSpec>& inputs = state.config.mode.inputs;
  Faces& faces = request->faces;
  int64_t boxes = 0, landmarks = 0;
  if (Error error = ReadRows(state, inputs[1], request, &faces.boxes, &boxes, &request->given)) return error;
  if (Error error = ReadRows(state, inputs[2], request, &faces.landmarks, &landmarks, &request->pointed))
    return error;
  if (request->pointed && !request->given) return Invalid("input 'landmarks' is given without 'boxes'");
  if (request->pointed && landmarks != boxes) {
    return Invalid("input 'landmarks' has " + std::to_string(landmarks) + " rows, 'boxes' has " +
                   std::to_string(boxes));
  }
  if (!request->given && state.detector == nullptr) {
    return Invalid(state.name +
                   " serves no detector: send the input 'boxes', or build the model with a detector");
  }
  if (request->given && !request->pointed && boxes > 0 && state.model->crop.aligned) {
    return Invalid("this model aligns faces by five landmarks each: send the input 'landmarks'");
  }
  for (size_t i = 0; i < faces.landmarks.size(); ++i) {
    if (!std::isfinite(faces.landmarks[i])) {
      return Invalid("landmarks of face " + std::to_string(i / 10) + " are not finite");
    }
  }
  return nullptr;
}

// What cutting by landmarks does not look at: boxes that are none, or not of this frame.
Error CheckBoxes(const Faces& faces, const Frame& frame) {
  for (size_t i = 0; i + 3 < faces.boxes.size(); i += 4) {
    const float *box = faces.boxes.data() + i, x = box[0], y = box[1], w = box[2], h = box[3];
    const std::string which = "box " + std::to_string(i / 4);
    if (!std::isfinite(x) || !std::isfinite(y) || !std::isfinite(w) || !std::isfinite(h) ||
        !(w > 0 && h > 0)) {
      return Invalid(which + " has no area");
    }
    if (!(x < static_cast<float>(frame.width) && y < static_cast<float>(frame.height) && x + w > 0 &&
          y + h > 0)) {
      return Invalid(which + " lies outside the picture");
    }
  }
  return nullptr;
}

}  // namespace

Error ReadFrameRequest(const ModelState& state, FrameRequest* request) {
  if (Error error = ReadHead(state, &request->request)) return error;
  Said said;
  if (Error error = ReadSaid(request->request.handle, &said)) return error;
  if (Error error = Interpret(said, &request->frame)) return error;
  if (Error error = ReadFaces(state, request)) return error;
  if (request->given && (said.threshold || !said.scales.empty())) {
    return Invalid("request parameters threshold and scales are the detector's, but boxes are given");
  }
  if (said.threshold) request->search.threshold = *said.threshold;
  request->search.scales = said.scales;
  if (Error error = ReadPixels(state, state.config.mode.inputs[0], request)) return error;
  return state.model->crop.aligned ? CheckBoxes(request->faces, request->frame) : nullptr;
}

}  // namespace ssr::triton
