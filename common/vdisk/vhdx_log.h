// The log of a VHDX file: a ring of entries, each a set of 4 KiB pages and ranges of zeros that belong at
// places of the file ([MS-VHDX] 2.3). Whoever changes the block table, a sector bitmap or the metadata in
// place writes the pages to the log first; whoever finds a file with a log puts them in place before anything
// else is believed.
//
// An entry counts when its checksum, its sequence numbers and the header's LogGuid agree; entries that follow
// one another in place and in number are a sequence; the sequence with the highest number whose last entry's
// tail lies within it is the active one, and is replayed from that tail on.
#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <vector>

#include "common/vdisk/vhdx_header.h"

namespace roamstead::vdisk::vhdx {

inline constexpr std::size_t kLogPageBytes = 4096;
// What is held in memory of a log; Windows and we make logs of 1 MiB.
inline constexpr std::uint64_t kMaxLogBytes = 64 * kMiB;

// What the active sequence of a log puts where.
struct LogContents {
  std::map<std::uint64_t, Bytes> pages;  // file offset -> 4096 bytes
  RangeSet zeros;                        // where no page lies
  std::uint64_t file_bytes = 0;          // the file has at least this size afterwards
  std::size_t entries = 0;

  bool empty() const { return pages.empty() && zeros.empty(); }
};

// The active sequence of a log that is not empty (`header.log_guid` is not zero). ErrorCode::corrupt when
// there is none, when the file is shorter than the log knows it was, or when an entry would overwrite the
// file identifier, the headers or the log itself; ErrorCode::unsupported beyond kMaxLogBytes.
Result<LogContents> read_log(const os::File& file, const Header& header);

// Puts everything in place and flushes it. The header still names the log afterwards.
Result<void> replay_log(os::File& file, const LogContents& contents);

// A file as it is once its log is replayed. Until settle() nothing of it has to be in place; from then on
// reads go to the file alone. Reads may run concurrently with settle(). The file must outlive it; it is never
// written.
class ReplayedFile final : public os::File {
 public:
  ReplayedFile(const os::File& file, LogContents contents) : file_(file), contents_(std::move(contents)) {}

  const LogContents& contents() const { return contents_; }
  bool settled() const { return settled_; }
  void settle() { settled_ = true; }

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override;
  Result<std::uint64_t> size() const override;
  Result<void> write_at(std::uint64_t offset, ByteView data) override;  // ErrorCode::denied, like the rest
  Result<void> truncate(std::uint64_t size_bytes) override;
  Result<void> sync() override;
  Result<void> lock(bool exclusive) override;
  const std::string& path() const override { return file_.path(); }

 private:
  const os::File& file_;
  LogContents contents_;
  std::atomic<bool> settled_ = false;
};

// Null when the header names no log. For errors see read_log.
Result<std::unique_ptr<ReplayedFile>> open_replayed(const os::File& file, const Header& header);

struct LogPage {
  std::uint64_t offset = 0;  // in the file, a multiple of 4096
  Bytes content;             // 4096 bytes
};

// One entry, as it lies in the log. `tail` is the position in the log of the first entry that has to be
// replayed. `flushed_bytes`: how long the file is on stable storage; `file_bytes`: everything allocated lies
// before it.
Bytes encode_log_entry(const Guid& guid, std::uint64_t sequence, std::uint32_t tail,
                       std::uint64_t flushed_bytes, std::uint64_t file_bytes, std::span<const LogPage> pages);

// Appends entries. Each says that it alone has to be replayed: before the next one is appended, what the last
// one protects must be in place and flushed.
class LogWriter {
 public:
  LogWriter() = default;
  LogWriter(ByteRange log, const Guid& guid) : log_(log), guid_(guid) {}

  const Guid& guid() const { return guid_; }
  ByteRange log() const { return log_; }
  // An entry never takes more than half of the log, so that it does not touch the one before.
  std::size_t max_pages() const;
  // Writes, does not flush. Once it is flushed call appended(); an entry that failed is overwritten by the
  // next.
  Result<void> append(os::File& file, std::span<const LogPage> pages, std::uint64_t file_bytes);
  void appended();

 private:
  ByteRange log_;
  Guid guid_;
  std::uint64_t sequence_ = 1;
  std::uint64_t head_ = 0;  // position of the next entry
  std::uint64_t length_ = 0;
};

}  // namespace roamstead::vdisk::vhdx
