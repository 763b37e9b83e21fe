// The change journal $Extend/$UsnJrnl: what Windows noted of each change of a file. A hint only: it may be
// off, start anew, be cut, or lie (a program with rights to the volume can write it); the MFT is the truth.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/ntfs/volume.h"

namespace roamstead::ntfs {

// USN_REASON_… of winioctl.h.
inline constexpr std::uint32_t kUsnFileCreate = 0x100;
inline constexpr std::uint32_t kUsnFileDelete = 0x200;
inline constexpr std::uint32_t kUsnRenameOldName = 0x1000;
inline constexpr std::uint32_t kUsnRenameNewName = 0x2000;
inline constexpr std::uint32_t kUsnClose = 0x8000'0000;

struct UsnRecord {
  std::uint64_t usn = 0;  // also the record's place in $J
  FileReference file;
  FileReference parent;
  std::string name;  // WTF-8, no path
  std::uint32_t reason = 0;
  std::uint32_t attributes = 0;  // FILE_ATTRIBUTE_…
  std::uint64_t time_100ns = 0;  // since 1601
  std::uint16_t version = 0;     // 2 or 3
};

// Where a file was at the beginning of what was read, and where it is at the end.
struct UsnRename {
  FileReference file;
  FileReference old_parent;
  std::string old_name;
  FileReference new_parent;
  std::string new_name;
  std::uint64_t usn = 0;  // of the last of its renames
};

// Thread-safe. The volume must outlive it.
class UsnJournal {
 public:
  // ErrorCode::not_found when the volume has no journal.
  static Result<UsnJournal> open(const Volume& volume);

  std::uint64_t id() const { return id_; }  // another one: the journal was made anew
  // USNs [first_usn, next_usn) may be there; what is before was dropped (a hole).
  std::uint64_t first_usn() const { return first_usn_; }
  std::uint64_t next_usn() const { return stream_.size_bytes; }

  // Calls for each record from `from_usn` on, in order; stop by returning false. Records of version 4 (ranges
  // of a file, which have no name) and what is damaged are left out, the latter up to the next page of 4 KiB.
  // At most `limit_bytes` are read: the last ones before next_usn, so that the newest are seen.
  struct ReadResult {
    std::uint64_t from_usn = 0;  // where reading began; later than asked for when records before are gone
    std::uint64_t records = 0;
    std::uint64_t damaged_pages = 0;
  };
  static constexpr std::uint64_t kDefaultLimitBytes = 64u << 20;
  Result<ReadResult> read(std::uint64_t from_usn, const std::function<bool(const UsnRecord&)>& visit,
                          std::uint64_t limit_bytes = kDefaultLimitBytes) const;

  // The files renamed or moved since `from_usn` that are still elsewhere than then, by file reference; at
  // most `limit_files`, the first ones met. Files made or deleted in between are left out.
  Result<std::vector<UsnRename>> renames(std::uint64_t from_usn, std::size_t limit_files = 100'000) const;

 private:
  UsnJournal(const Volume& volume, StreamInfo stream) : volume_(&volume), stream_(std::move(stream)) {}

  const Volume* volume_;
  StreamInfo stream_;
  std::uint64_t id_ = 0;
  std::uint64_t first_usn_ = 0;
};

// One record at the start of `bytes`: its length, and the record unless its version has no name.
// ErrorCode::corrupt when it is not a record, leaves `bytes`, or does not say that it is at `usn`.
struct ParsedUsnRecord {
  std::size_t length = 0;
  std::optional<UsnRecord> record;
};
Result<ParsedUsnRecord> parse_usn_record(ByteView bytes, std::uint64_t usn);

}  // namespace roamstead::ntfs
