#include "core/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ssr {
namespace {

const char* KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

Status NotRegular(const std::string& path, mode_t mode) {
  return {Code::kInvalidArgument, path + ": is " + KindOf(mode) + ", expected a regular file"};
}

Status Failed(const std::string& path, int error) {
  return {Code::kInvalidArgument, path + ": " + std::strerror(error)};
}

}  // namespace

RegularFile::~RegularFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

Status RegularFile::Open(const std::string& path) {
  path_ = path;
  descriptor_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor_ < 0) {
    const int error = errno;
    if (error == ENXIO) return NotRegular(path, S_IFSOCK);
    if (error == ENOENT || error == ENOTDIR) return {Code::kNotFound, path + ": " + std::strerror(error)};
    return Failed(path, error);
  }
  struct stat about;
  if (fstat(descriptor_, &about) != 0) return Failed(path, errno);
  if (!S_ISREG(about.st_mode)) return NotRegular(path, about.st_mode);
  size_ = static_cast<uint64_t>(about.st_size);
  return {};
}

Status RegularFile::Read(void* bytes, size_t count, size_t* read) {
  *read = 0;
  while (*read < count) {
    const ssize_t got = ::read(descriptor_, static_cast<char*>(bytes) + *read, count - *read);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed(path_, errno);
    if (got == 0) break;
    *read += static_cast<size_t>(got);
  }
  return {};
}

}  // namespace ssr
