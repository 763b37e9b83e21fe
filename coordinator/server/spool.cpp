#include "coordinator/server/spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace roamstead::server {
namespace {

tl::unexpected<Error> spool_failure(const std::string& what) {
  auto number = errno;
  return fail(number == ENOSPC || number == EDQUOT ? ErrorCode::full : ErrorCode::io,
              "spool: " + what + ": " + std::strerror(number));
}

// The file gets no name where the file system can do that, and loses it at once elsewhere.
int open_nameless(const std::string& directory) {
  auto descriptor = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)) return descriptor;
  auto name = directory + "/batch-XXXXXX";
  descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor >= 0) ::unlink(name.c_str());
  return descriptor;
}

}  // namespace

Result<void> SpoolBudget::take(const std::string& desktop, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  const auto refuse = [bytes](const std::string& whose, std::uint64_t used, std::uint64_t limit) {
    return fail(ErrorCode::full, "spool: no room for a batch of " + std::to_string(bytes) + " bytes, " +
                                     std::to_string(used) + " of " + std::to_string(limit) + " " + whose +
                                     " are in use");
  };
  auto known = used_by_.find(desktop);
  auto used = known == used_by_.end() ? 0 : known->second;
  if (bytes > limit_per_desktop_ || used > limit_per_desktop_ - bytes)
    return refuse("for desktop '" + desktop + "'", used, limit_per_desktop_);
  if (used_ > limit_ - bytes) return refuse("in all", used_, limit_);
  used_ += bytes;
  used_by_[desktop] += bytes;
  return {};
}

void SpoolBudget::give_back(const std::string& desktop, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  used_ -= bytes;
  auto known = used_by_.find(desktop);
  if ((known->second -= bytes) == 0) used_by_.erase(known);
}

bool SpoolBudget::take_memory(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (bytes > kMostInMemory - in_memory_) return false;
  in_memory_ += bytes;
  return true;
}

void SpoolBudget::give_back_memory(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  in_memory_ -= bytes;
}

Result<std::unique_ptr<Spool>> Spool::create(const std::string& directory, const std::string& desktop,
                                             std::uint64_t expected_bytes, SpoolBudget& budget) {
  RS_CHECK(budget.take(desktop, expected_bytes));
  std::unique_ptr<Spool> spool(new Spool(-1, desktop, expected_bytes, budget));
  if (expected_bytes <= kMostInMemory && budget.take_memory(expected_bytes)) {
    spool->in_memory_ = true;
    return spool;
  }
  spool->descriptor_ = open_nameless(directory);
  if (spool->descriptor_ < 0) return spool_failure("cannot make a file in " + directory);
  return spool;
}

Spool::~Spool() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (in_memory_) budget_.give_back_memory(expected_bytes_);
  budget_.give_back(desktop_, expected_bytes_);
}

Result<void> Spool::append(ByteView data) {
  if (data.size() > expected_bytes_ - size_)
    return fail(ErrorCode::protocol,
                "a batch of more than the " + std::to_string(expected_bytes_) + " bytes announced");
  if (in_memory_) {
    memory_.insert(memory_.end(), data.begin(), data.end());
    size_ = memory_.size();
    return {};
  }
  while (!data.empty()) {
    auto written = ::pwrite(descriptor_, data.data(), data.size(), static_cast<off_t>(size_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return spool_failure("cannot write");
    size_ += static_cast<std::uint64_t>(written);
    data = data.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> Spool::read(std::uint64_t offset, MutableByteView out) const {
  if (in_memory_) {
    if (offset > size_ || out.size() > size_ - offset)
      return fail(ErrorCode::internal, "spool: read beyond the end at " + std::to_string(offset));
    std::copy_n(memory_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  while (!out.empty()) {
    auto got = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return spool_failure("cannot read");
    if (got == 0) return fail(ErrorCode::internal, "spool: read beyond the end at " + std::to_string(offset));
    offset += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Result<void> SpoolContent::read(std::size_t record, std::size_t stream, std::uint64_t offset,
                                MutableByteView out) {
  RS_TRY(auto position, layout_.locate(record, stream, {offset, out.size()}));
  return spool_.read(offset_ + position, out);
}

}  // namespace roamstead::server
