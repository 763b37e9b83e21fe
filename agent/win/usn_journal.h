// The change journal of an NTFS volume: Windows writes into it, with the change itself, that something of a
// file was changed, and by which folder and name. Chosen over notifications for a folder
// (ReadDirectoryChangesW): it needs no thread and no buffer that overflows while nobody reads, and says when
// part of it is gone.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "agent/win/base/handle.h"
#include "common/base/bytes.h"

namespace roamstead::agent {

// Not thread-safe. Where the volume has no journal (none is made for it), or it cannot be read, nothing is
// known.
class UsnJournal {
 public:
  explicit UsnJournal(std::string drive) : drive_(std::move(drive)) {}

  // Records of the folders in which something changed since the last call, anywhere on the volume. Nothing:
  // not known.
  std::optional<std::set<std::uint64_t>> changed_folders();

 private:
  bool begin();  // at what is written next
  bool read(std::set<std::uint64_t>& folders);

  const std::string drive_;
  win::Handle volume_;
  std::uint64_t journal_ = 0;
  std::int64_t next_ = 0;
  bool begun_ = false;
};

// What FSCTL_READ_USN_JOURNAL fills in: the number to go on from, then records of version 2. False: not as
// documented.
bool add_folders(ByteView answer, std::int64_t& next, std::set<std::uint64_t>& folders);

}  // namespace roamstead::agent
