// A POSIX file descriptor that closes itself, and errno as an Error.
#pragma once

#include <unistd.h>

#include <string>
#include <utility>

#include "common/base/result.h"

namespace roamstead::agent {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  ~FileDescriptor() { reset(); }
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }

  int get() const { return descriptor_; }
  explicit operator bool() const { return descriptor_ >= 0; }
  void reset() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }
  // A name under which the kernel finds what the descriptor stands for, also where an O_PATH descriptor is
  // not enough.
  std::string proc_path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_ = -1;
};

// A path below a directory that is open, as openat() wants it.
inline const char* relative(const std::string& path) { return path.empty() ? "." : path.c_str(); }

// The error for `number` (an errno), with "what: path: text".
Error system_error(int number, const std::string& what, const std::string& path);
// Of an Error, the errno that programs shall see. What cannot be reached now is EIO (for reads and lookups
// alike), never ENOENT.
int errno_of(const Error& error);

}  // namespace roamstead::agent
