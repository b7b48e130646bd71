// A load generator for one gRPC call: the same request again and again, by one thread that does nothing else.
//
//   grpc_load HOST PORT PATH REQUEST ENDING (--rate R [--seed N] | --under-way N) [--seconds S] [--warm-up S]
//
// PATH is the call's (/inference.GRPCInferenceService/ModelInfer). REQUEST is a file with the serialized
// request, ENDING one with the bytes that every reply must end with: a ModelInferResponse ends with its
// tensors, and what stands before them may change its order. Any other answer ends the run with status 1.
// --rate: requests a second that arrive by chance (a Poisson process), whether or not earlier ones were
// answered; a latency counts from the moment at which the request was due. --under-way: a closed loop.
//
// On standard output, once all are answered: for each request after the warm-up three int64, the nanoseconds
// from the start at which it was due, was sent and was answered. On standard error: the CPU seconds used.
//
// Why not Python: a client whose threads share one lock and which spends 150 microseconds a request measures
// itself. A request costs this program a tenth of that where it has a core, most of it the kernel's sending.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

[[noreturn]] void Fail(const std::string& reason) {
  std::fprintf(stderr, "grpc_load: %s\n", reason.c_str());
  std::exit(1);
}

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    Fail(path + ": cannot be read");
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

// A message as gRPC frames it: not compressed, its length in four bytes, the bytes.
std::string Framed(const std::string& message) {
  std::string framed(5, '\0');
  const uint32_t length = htonl(static_cast<uint32_t>(message.size()));
  std::memcpy(&framed[1], &length, sizeof length);
  return framed + message;
}

struct Moments {
  int64_t due, sent, answered;
};

struct Call {
  Moments moments;
  size_t written = 0;
  std::string reply, status, message;
};

class Load {
 public:
  Load(const std::string& host, const std::string& port, std::string path, const std::string& request,
       const std::string& ending)
      : authority_(host + ":" + port), path_(std::move(path)), request_(Framed(request)), ending_(ending) {
    Connect(host, port);
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClose);
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
  }
  ~Load() {
    nghttp2_session_del(session_);
    close(socket_);
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Keeps `under_way` requests with the server for `seconds`.
  void ClosedLoop(int under_way, double seconds) {
    const int64_t end = Now() + static_cast<int64_t>(seconds * 1e9);
    while (true) {
      for (int64_t now = Now(); now < end && calls_.size() < static_cast<size_t>(under_way);) {
        Submit(now);
      }
      if (calls_.empty()) {
        return;
      }
      const size_t before = done_.size();
      const int64_t patient = Now() + kPatience;
      while (done_.size() == before) {
        Exchange(patient);
        if (Now() > patient) {
          Fail("no answer came for " + std::to_string(kPatience / 1000000000) + " s");
        }
      }
    }
  }

  // Sends at each moment of a Poisson process of `rate` a second for `seconds`, then waits for the answers.
  void OpenLoop(double rate, double seconds, std::mt19937_64& random) {
    std::exponential_distribution<double> gap(rate);
    const int64_t begin = Now();
    double arrival = gap(random);
    int64_t stalled = begin + kPatience;
    while (true) {
      while (arrival < seconds && begin + static_cast<int64_t>(arrival * 1e9) <= Now()) {
        Submit(begin + static_cast<int64_t>(arrival * 1e9));
        arrival += gap(random);
      }
      if (arrival >= seconds && calls_.empty()) {
        return;
      }
      const size_t before = done_.size();
      Exchange(arrival < seconds ? begin + static_cast<int64_t>(arrival * 1e9) : stalled);
      if (done_.size() != before || calls_.empty()) {
        stalled = Now() + kPatience;
      } else if (Now() > stalled || calls_.size() > kMostUnderWay) {
        Fail(std::to_string(calls_.size()) +
             " requests wait for their answers: the server does not carry this");
      }
    }
  }

  std::vector<Moments> TakeDone() { return std::exchange(done_, {}); }

 private:
  static constexpr int64_t kPatience = INT64_C(10000000000);
  static constexpr size_t kMostUnderWay = 10000;

  void Connect(const std::string& host, const std::string& port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::atoi(port.c_str())));
    if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
      Fail(host + ": expected an IPv4 address");
    }
    socket_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int yes = 1;
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
        errno != EINPROGRESS) {
      Fail(authority_ + ": " + std::strerror(errno));
    }
  }

  void Submit(int64_t due) {
    const auto header = [](const char* name, const std::string& value) {
      return nghttp2_nv{reinterpret_cast<uint8_t*>(const_cast<char*>(name)),
                        reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), std::strlen(name),
                        value.size(), NGHTTP2_NV_FLAG_NONE};
    };
    static const std::string kPost = "POST", kHttp = "http", kGrpc = "application/grpc",
                             kTrailers = "trailers";
    const nghttp2_nv headers[] = {header(":method", kPost),      header(":scheme", kHttp),
                                  header(":path", path_),        header(":authority", authority_),
                                  header("content-type", kGrpc), header("te", kTrailers)};
    nghttp2_data_provider body{};
    body.source.ptr = this;
    body.read_callback = ReadBody;
    const int32_t stream =
        nghttp2_submit_request(session_, nullptr, headers, std::size(headers), &body, nullptr);
    if (stream < 0) {
      Fail(std::string("a request was not taken: ") + nghttp2_strerror(stream));
    }
    calls_[stream].moments = {due, Now(), 0};
  }

  // Writes what is to be written and reads what is there, waiting no longer than until `until`.
  void Exchange(int64_t until) {
    Write();
    const int64_t pause = std::max<int64_t>(0, until - Now());
    timespec timeout{pause / 1000000000, pause % 1000000000};
    pollfd ready{socket_, static_cast<short>(POLLIN | (out_.empty() ? 0 : POLLOUT)), 0};
    if (ppoll(&ready, 1, &timeout, nullptr) < 0 && errno != EINTR) {
      Fail(std::string("poll: ") + std::strerror(errno));
    }
    if (ready.revents & (POLLIN | POLLERR | POLLHUP)) {
      Read();
    }
    Write();
  }

  void Read() {
    static uint8_t buffer[1 << 16];
    ssize_t count;
    do {
      count = read(socket_, buffer, sizeof buffer);
      if (count <= 0) {
        break;
      }
      const ssize_t taken = nghttp2_session_mem_recv(session_, buffer, static_cast<size_t>(count));
      if (taken < 0) {
        Fail(std::string("HTTP/2: ") + nghttp2_strerror(static_cast<int>(taken)));
      }
    } while (count == sizeof buffer);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
      Fail(authority_ + (count == 0 ? " closed the connection" : std::string(": ") + std::strerror(errno)));
    }
  }

  void Write() {
    while (true) {
      if (out_.empty()) {
        // All frames that are ready travel in one write.
        const uint8_t* data = nullptr;
        ssize_t count;
        while (out_.size() < (1 << 16) && (count = nghttp2_session_mem_send(session_, &data)) > 0) {
          out_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(count));
        }
        if (out_.empty()) {
          return;
        }
      }
      const ssize_t sent = send(socket_, out_.data(), out_.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ENOTCONN) {
          return;
        }
        Fail(authority_ + ": " + std::strerror(errno));
      }
      out_.erase(0, static_cast<size_t>(sent));
      if (!out_.empty()) {
        return;
      }
    }
  }

  static ssize_t ReadBody(nghttp2_session*, int32_t stream, uint8_t* buffer, size_t room, uint32_t* flags,
                          nghttp2_data_source* source, void*) {
    Load& self = *static_cast<Load*>(source->ptr);
    Call& call = self.calls_.at(stream);
    const size_t count = std::min(room, self.request_.size() - call.written);
    std::memcpy(buffer, self.request_.data() + call.written, count);
    call.written += count;
    if (call.written == self.request_.size()) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return static_cast<ssize_t>(count);
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_length,
                      const uint8_t* value, size_t value_length, uint8_t, void* data) {
    Load& self = *static_cast<Load*>(data);
    const std::string key(reinterpret_cast<const char*>(name), name_length);
    if (key == "grpc-status") {
      self.calls_.at(frame->hd.stream_id).status.assign(reinterpret_cast<const char*>(value), value_length);
    } else if (key == "grpc-message") {
      self.calls_.at(frame->hd.stream_id).message.assign(reinterpret_cast<const char*>(value), value_length);
    }
    return 0;
  }

  static int OnData(nghttp2_session*, uint8_t, int32_t stream, const uint8_t* bytes, size_t length,
                    void* data) {
    static_cast<Load*>(data)->calls_.at(stream).reply.append(reinterpret_cast<const char*>(bytes), length);
    return 0;
  }

  static int OnClose(nghttp2_session*, int32_t stream, uint32_t error, void* data) {
    Load& self = *static_cast<Load*>(data);
    const auto found = self.calls_.find(stream);
    Call& call = found->second;
    if (error != 0 || call.status != "0") {
      Fail("a request failed: grpc-status " + call.status + " " + call.message);
    }
    if (call.reply.size() < self.ending_.size() ||
        call.reply.compare(call.reply.size() - self.ending_.size(), std::string::npos, self.ending_) != 0) {
      Fail("an answer differed under load");
    }
    call.moments.answered = Now();
    self.done_.push_back(call.moments);
    self.calls_.erase(found);
    return 0;
  }

  const std::string authority_, path_, request_, ending_;
  int socket_ = -1;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<int32_t, Call> calls_;
  std::vector<Moments> done_;
  std::string out_;
};

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, double> options = {
      {"--rate", 0}, {"--seed", 0}, {"--under-way", 0}, {"--seconds", 5}, {"--warm-up", 0.5}};
  if (argc < 6 || argc % 2 != 0) {
    std::fprintf(stderr, "usage: grpc_load HOST PORT PATH REQUEST ENDING (--rate R | --under-way N) ...\n");
    return 2;
  }
  for (int i = 6; i < argc; i += 2) {
    const auto option = options.find(argv[i]);
    if (option == options.end()) {
      std::fprintf(stderr, "grpc_load: %s: no such option\n", argv[i]);
      return 2;
    }
    option->second = std::strtod(argv[i + 1], nullptr);
  }
  const double rate = options["--rate"];
  const int under_way = static_cast<int>(options["--under-way"]);
  if ((rate > 0) == (under_way > 0)) {
    std::fprintf(stderr, "grpc_load: expected one of --rate and --under-way above 0\n");
    return 2;
  }
  // Wake at the moment asked for, not up to 50 microseconds later.
  prctl(PR_SET_TIMERSLACK, 1);
  Load load(argv[1], argv[2], argv[3], ReadFile(argv[4]), ReadFile(argv[5]));
  std::mt19937_64 random(static_cast<uint64_t>(options["--seed"]));
  const auto run = [&](double seconds) {
    rate > 0 ? load.OpenLoop(rate, seconds, random) : load.ClosedLoop(under_way, seconds);
    return load.TakeDone();
  };
  run(options["--warm-up"]);
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  const int64_t begin = Now();
  std::vector<Moments> done = run(options["--seconds"]);
  getrusage(RUSAGE_SELF, &after);
  for (Moments& m : done) {
    m = {m.due - begin, m.sent - begin, m.answered - begin};
  }
  std::fwrite(done.data(), sizeof(Moments), done.size(), stdout);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  std::fprintf(stderr, "%.3f\n",
               seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_utime) -
                   seconds(before.ru_stime));
  return 0;
}
