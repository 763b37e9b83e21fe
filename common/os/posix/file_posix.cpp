#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "common/os/file.h"

namespace roamstead::os {
namespace {

tl::unexpected<Error> system_error(const std::string& what, const std::string& path) {
  auto number = errno;
  auto code = ErrorCode::io;
  if (number == ENOENT || number == ENOTDIR) code = ErrorCode::not_found;
  if (number == EEXIST || number == ENOTEMPTY) code = ErrorCode::exists;
  if (number == EACCES || number == EPERM || number == EROFS) code = ErrorCode::denied;
  if (number == ENOSPC || number == EDQUOT) code = ErrorCode::full;
  if (number == EWOULDBLOCK) code = ErrorCode::busy;
  return fail(code, path + ": " + what + ": " + std::strerror(number));
}

class PosixFile final : public File {
 public:
  PosixFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  ~PosixFile() override {
    // A lock belongs to the open file, which a program that another thread is just starting has too until it
    // runs: closing alone would leave it locked for that moment.
    if (is_locked_) ::flock(descriptor_, LOCK_UN);
    ::close(descriptor_);
  }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
    std::size_t done = 0;
    while (done < out.size()) {
      auto count =
          ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return system_error("cannot read at offset " + std::to_string(offset + done), path_);
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    return done;
  }

  Result<void> write_at(std::uint64_t offset, ByteView data) override {
    std::size_t done = 0;
    while (done < data.size()) {
      auto count =
          ::pwrite(descriptor_, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return system_error("cannot write at offset " + std::to_string(offset + done), path_);
      done += static_cast<std::size_t>(count);
    }
    return {};
  }

  Result<std::uint64_t> size() const override {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) return system_error("cannot stat", path_);
    if (!S_ISREG(status.st_mode)) {  // a block device has its size at its end
      auto end = ::lseek(descriptor_, 0, SEEK_END);
      if (end < 0) return system_error("cannot find the size", path_);
      return static_cast<std::uint64_t>(end);
    }
    return static_cast<std::uint64_t>(status.st_size);
  }

  Result<void> truncate(std::uint64_t size_bytes) override {
    if (::ftruncate(descriptor_, static_cast<off_t>(size_bytes)) != 0)
      return system_error("cannot resize", path_);
    return {};
  }

  Result<void> allocate(std::uint64_t size_bytes) override {
    int failed = 0;
    do {
      failed = ::fallocate(descriptor_, 0, 0, static_cast<off_t>(size_bytes));
    } while (failed != 0 && errno == EINTR);
    if (failed == 0) return {};
    if (errno == EOPNOTSUPP || errno == ENOSYS) return File::allocate(size_bytes);
    return system_error("cannot take " + std::to_string(size_bytes) + " bytes", path_);
  }

  Result<void> sync() override {
    if (::fdatasync(descriptor_) != 0) return system_error("cannot flush", path_);
    return {};
  }

  Result<void> lock(bool exclusive) override {
    if (::flock(descriptor_, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0)
      return system_error("in use by another program", path_);
    is_locked_ = true;
    return {};
  }

  const std::string& path() const override { return path_; }

 private:
  int descriptor_;
  bool is_locked_ = false;
  std::string path_;
};

class PosixFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    int flags = O_CLOEXEC;
    switch (mode) {
      case OpenMode::read:
        flags |= O_RDONLY;
        break;
      case OpenMode::read_write:
        flags |= O_RDWR;
        break;
      case OpenMode::create:
        flags |= O_RDWR | O_CREAT;
        break;
      case OpenMode::create_new:
        flags |= O_RDWR | O_CREAT | O_EXCL;
        break;
    }
    auto descriptor = ::open(path.c_str(), flags, 0600);
    if (descriptor < 0) return system_error("cannot open", path);
    struct stat status {};
    if (::fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode)) {
      ::close(descriptor);
      return fail(ErrorCode::invalid_argument, path + ": is a directory");
    }
    return std::make_unique<PosixFile>(descriptor, path);
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return system_error("cannot rename to " + to, from);
    return {};
  }

  Result<void> link(const std::string& from, const std::string& to) override {
    if (::link(from.c_str(), to.c_str()) != 0) return system_error("cannot link to " + to, from);
    return {};
  }

  Result<bool> same_file(const std::string& a, const std::string& b) override {
    struct stat first {
    }, second{};
    if (::stat(a.c_str(), &first) != 0) return system_error("cannot stat", a);
    if (::stat(b.c_str(), &second) != 0) return system_error("cannot stat", b);
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
  }

  Result<void> remove(const std::string& path) override {
    if (::remove(path.c_str()) != 0) return system_error("cannot remove", path);
    return {};
  }

  Result<bool> exists(const std::string& path) override {
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return system_error("cannot stat", path);
  }

  Result<std::int64_t> modified_seconds(const std::string& path) override {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return system_error("cannot stat", path);
    return std::int64_t{status.st_mtime};
  }

  Result<std::vector<std::string>> list_directory(const std::string& path) override {
    auto* directory = ::opendir(path.c_str());
    if (directory == nullptr) return system_error("cannot list", path);
    std::vector<std::string> names;
    while (auto* entry = ::readdir(directory)) {
      std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(std::move(name));
    }
    ::closedir(directory);
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<void> make_directories(const std::string& path) override {
    if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
    if (errno != ENOENT) return system_error("cannot make the directory", path);
    auto parent = parent_directory(path);
    if (parent == path || parent == ".") return system_error("cannot make the directory", path);
    RS_CHECK(make_directories(parent));
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
      return system_error("cannot make the directory", path);
    return {};
  }

  Result<void> sync_directory(const std::string& path) override {
    auto descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return system_error("cannot open", path);
    auto result = ::fsync(descriptor);
    auto saved = errno;
    ::close(descriptor);
    errno = saved;
    if (result != 0) return system_error("cannot flush the directory", path);
    return {};
  }
};

}  // namespace

FileSystem& real_file_system() {
  static PosixFileSystem instance;
  return instance;
}

}  // namespace roamstead::os
