// Where a batch waits while it arrives: in memory when it is small, as nearly all are and making a file costs
// more than committing them; else a file without a name, so that nothing of it outlives the process or can be
// opened by another.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/wire/batch_stream.h"

namespace roamstead::server {

// Bytes set aside for batches, of all desktops and of each, and how many may be: no desktop can take all of
// it from the others. Thread-safe.
class SpoolBudget {
 public:
  SpoolBudget(std::uint64_t limit_bytes, std::uint64_t limit_per_desktop_bytes)
      : limit_(limit_bytes), limit_per_desktop_(std::min(limit_bytes, limit_per_desktop_bytes)) {}

  // ErrorCode::full says which limit keeps the bytes out.
  Result<void> take(const std::string& desktop, std::uint64_t bytes);
  void give_back(const std::string& desktop, std::uint64_t bytes);
  // Of what was taken, what may be in memory rather than in a file, for all together.
  static constexpr std::uint64_t kMostInMemory = 32u << 20;
  bool take_memory(std::uint64_t bytes);
  void give_back_memory(std::uint64_t bytes);
  std::uint64_t limit() const { return limit_per_desktop_; }  // of one batch
  std::uint64_t used() const {
    std::lock_guard guard(mutex_);
    return used_;
  }

 private:
  const std::uint64_t limit_;
  const std::uint64_t limit_per_desktop_;
  mutable std::mutex mutex_;
  std::uint64_t used_ = 0, in_memory_ = 0;
  std::map<std::string, std::uint64_t> used_by_;
};

// One writer appends; then it is read. The budget must outlive it.
class Spool {
 public:
  // Sets `expected_bytes` aside; ErrorCode::full when the budget does not allow them.
  static Result<std::unique_ptr<Spool>> create(const std::string& directory, const std::string& desktop,
                                               std::uint64_t expected_bytes, SpoolBudget& budget);
  // Of a batch that needs no file.
  static constexpr std::uint64_t kMostInMemory = 32u << 10;
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  // ErrorCode::protocol beyond the expected bytes.
  Result<void> append(ByteView data);
  Result<void> read(std::uint64_t offset, MutableByteView out) const;
  std::uint64_t size() const { return size_; }
  std::uint64_t expected_bytes() const { return expected_bytes_; }

 private:
  Spool(int descriptor, std::string desktop, std::uint64_t expected_bytes, SpoolBudget& budget)
      : descriptor_(descriptor),
        desktop_(std::move(desktop)),
        expected_bytes_(expected_bytes),
        budget_(budget) {}

  int descriptor_;
  bool in_memory_ = false;  // then there is no file
  Bytes memory_;
  const std::string desktop_;
  std::uint64_t expected_bytes_;
  SpoolBudget& budget_;
  std::uint64_t size_ = 0;
};

// A batch's content within a spool, from `offset` on. Thread-safe. All must outlive it.
class SpoolContent final : public profile::ContentSource {
 public:
  SpoolContent(const Spool& spool, std::uint64_t offset, wire::ContentLayout layout)
      : spool_(spool), offset_(offset), layout_(std::move(layout)) {}
  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override;

 private:
  const Spool& spool_;
  std::uint64_t offset_;
  wire::ContentLayout layout_;
};

}  // namespace roamstead::server
