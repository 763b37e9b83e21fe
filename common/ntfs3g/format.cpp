#include "common/ntfs3g/format.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "common/ntfs3g/shrink_log.h"

namespace roamstead::ntfs3g {
namespace {

constexpr std::size_t kCopyBytes = 1 << 20;
constexpr std::size_t kGrain = 4096;  // zeros are skipped in pieces of this

tl::unexpected<Error> failed(const std::string& what) {
  return fail(ErrorCode::io, "cannot " + what + ": " + std::strerror(errno));
}

// A sparse file of that size without a name that anybody must remove.
class TemporaryImage {
 public:
  ~TemporaryImage() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(path_.c_str());
  }
  Result<void> make(std::uint64_t size_bytes) {
    path_ = (std::filesystem::temp_directory_path() / "roamstead-format-XXXXXX").string();
    descriptor_ = ::mkostemp(path_.data(), O_CLOEXEC);
    if (descriptor_ < 0) return failed("make " + path_);
    if (::ftruncate(descriptor_, static_cast<off_t>(size_bytes)) != 0) return failed("size " + path_);
    return {};
  }
  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }

 private:
  std::string path_;
  int descriptor_ = -1;
};

Result<std::string> find_mkntfs() {
  for (const char* path : {"/usr/sbin/mkntfs", "/sbin/mkntfs", "/usr/bin/mkntfs"})
    if (::access(path, X_OK) == 0) return std::string(path);
  return fail(ErrorCode::unavailable, "mkntfs is not installed (package ntfs-3g)");
}

Result<void> run(const std::vector<std::string>& arguments) {
  std::vector<char*> raw;
  for (auto& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
  raw.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  errno = ::posix_spawn(&child, raw[0], &actions, nullptr, raw.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (errno != 0) return failed("run " + arguments[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return failed("wait for " + arguments[0]);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(ErrorCode::io, arguments[0] + " failed with status " + std::to_string(status));
  return {};
}

Result<void> copy_part(int from, std::uint64_t offset, std::uint64_t end, vdisk::BlockDevice& to) {
  Bytes buffer(kCopyBytes);
  while (offset < end) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - offset));
    const auto got = ::pread(from, buffer.data(), wanted, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failed("read the formatted image");
    const auto length = static_cast<std::size_t>(got);
    for (std::size_t at = 0; at < length; at += kGrain) {
      const auto part = ByteView(buffer).subspan(at, std::min(kGrain, length - at));
      if (!all_zero(part)) RS_CHECK(to.write(offset + at, part));
    }
    offset += length;
  }
  return {};
}

// Copies what is not a hole.
Result<void> copy_data(int from, vdisk::BlockDevice& to) {
  const auto size = static_cast<off_t>(to.size_bytes());
  for (off_t at = 0; at < size;) {
    const auto data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return failed("find the data of the formatted image");
    const auto hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) return failed("find the holes of the formatted image");
    RS_CHECK(copy_part(from, static_cast<std::uint64_t>(data),
                       static_cast<std::uint64_t>(std::min(hole, size)), to));
    at = hole;
  }
  return {};
}

}  // namespace

Result<void> format_ntfs(vdisk::BlockDevice& device, const std::string& label,
                         std::uint64_t partition_offset_bytes, std::uint64_t most_log_bytes) {
  RS_TRY(const auto mkntfs, find_mkntfs());
  TemporaryImage image;
  RS_CHECK(image.make(device.size_bytes()));
  const auto start = std::to_string(partition_offset_bytes / device.sector_bytes());
  RS_CHECK_CTX("formatting " + device.name(),
               run({mkntfs, "--fast", "--force", "--quiet", "--cluster-size", "4096", "--sector-size",
                    std::to_string(device.sector_bytes()), "--partition-start", start, "--heads", "255",
                    "--sectors-per-track", "63", "--label", label, image.path()}));
  if (most_log_bytes != 0)
    RS_CHECK_CTX("formatting " + device.name(), shrink_log(image.path(), image.descriptor(), most_log_bytes));
  RS_CHECK_CTX("formatting " + device.name(), copy_data(image.descriptor(), device));
  return device.flush();
}

}  // namespace roamstead::ntfs3g
