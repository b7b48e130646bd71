// Ages of the faces in a PPM picture, in one request, by Triton's gRPC stubs alone:
//   frame PICTURE.ppm [HOST:PORT]
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "grpc_service.grpc.pb.h"

namespace {

struct Picture {
  int width = 0, height = 0;
  std::string rgb;
};

// "P6", width, height, 255 and one white space, then RGB bytes.
bool Read(const char* path, Picture* picture) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int most = 0;
  if (!(file >> magic >> picture->width >> picture->height >> most) || magic != "P6" || most != 255)
    return false;
  file.get();
  picture->rgb.assign(std::istreambuf_iterator<char>(file), {});
  return picture->rgb.size() == size_t{3} * picture->width * picture->height;
}

// Values of output `index`, little-endian float32.
std::vector<float> Values(const inference::ModelInferResponse& answer, int index) {
  const std::string& bytes = answer.raw_output_contents(index);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2 || count > 3) {
    std::fprintf(stderr, "usage: %s PICTURE.ppm [HOST:PORT]\n", arguments[0]);
    return 2;
  }
  Picture picture;
  if (!Read(arguments[1], &picture)) {
    std::fprintf(stderr, "%s: not a PPM picture (P6, 255)\n", arguments[1]);
    return 1;
  }
  grpc::ChannelArguments limits;
  limits.SetMaxSendMessageSize(-1);
  const std::string server = count == 3 ? arguments[2] : "localhost:8001";
  const auto channel = grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), limits);
  const auto stub = inference::GRPCInferenceService::NewStub(channel);

  inference::ModelInferRequest request;
  request.set_model_name("ssrnet-frame");
  (*request.mutable_parameters())["format"].set_string_param("rgb");
  auto* frame = request.add_inputs();
  frame->set_name("frame");
  frame->set_datatype("UINT8");
  for (const int side : {picture.height, picture.width, 3}) frame->add_shape(side);
  request.add_raw_input_contents(picture.rgb);
  for (const char* name : {"age", "boxes", "scores"}) request.add_outputs()->set_name(name);

  grpc::ClientContext context;
  inference::ModelInferResponse answer;
  const grpc::Status status = stub->ModelInfer(&context, request, &answer);
  if (!status.ok()) {
    std::fprintf(stderr, "%s: %s\n", server.c_str(), status.error_message().c_str());
    return 1;
  }
  std::vector<float> ages, boxes, scores;
  for (int i = 0; i < answer.outputs_size(); ++i) {
    const std::string& name = answer.outputs(i).name();
    (name == "age" ? ages : name == "boxes" ? boxes : scores) = Values(answer, i);
  }
  for (size_t i = 0; i < ages.size(); ++i) {
    const float* box = &boxes[4 * i];
    std::printf("%.1f years at %.0f,%.0f %.0fx%.0f, score %.2f\n", ages[i], box[0], box[1], box[2], box[3],
                scores[i]);
  }
  return 0;
}
