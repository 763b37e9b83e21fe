// Brings a dirty hive to the state its logs hold, as Windows does when it loads it.
//
// A hive is dirty when its base block's checksum is wrong or its two sequence numbers differ. Windows 8.1 and
// later write changes to logs only and bring them into the hive up to an hour later, so a hive taken from a
// snapshot is usually dirty, and what it shows without its logs is old. A clean hive is never touched,
// whatever its logs hold.
//
// Old logs (DIRT, to Windows 8): one bitmap of dirty 512-byte pages; applies when it is whole and its time
// stamp is the hive's. New logs (HvLE): entries with consecutive sequence numbers, each sealed by two hashes.
// Entries below the hive's second sequence number are in the hive already. Real hives have a gap between that
// number and the first entry: what lies between was brought into the hive, and its log space used again. For
// the same reason two logs both apply only if the first entry of one follows the last of the other, wherever
// which of them is older; if entries between them are missing, the older log was brought into the hive
// before, and only the newer applies.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/base/byte_range.h"
#include "common/registry/format.h"

namespace roamstead::registry {

struct LogFile {
  std::string name;
  ByteView bytes;
};

struct LogReport {
  std::string name;
  bool applied = false;
  std::string remark;  // why not, or what was left out
  bool old_format = false;
  std::uint32_t first_sequence = 0;  // of what was applied
  std::uint32_t last_sequence = 0;
  std::uint32_t entries = 0;
  std::uint64_t pages = 0;
  std::uint64_t bytes = 0;
};

struct RecoveryReport {
  bool was_dirty = false;
  bool base_block_replaced = false;   // by a log's copy
  std::uint32_t sequence_before = 0;  // the second one
  std::uint32_t sequence_after = 0;
  std::vector<LogReport> logs;  // in the order in which they were applied, then those that were not
  RangeSet changed;             // ranges of the file
};

struct Recovery {
  RecoveryReport report;
  Bytes file;  // the recovered hive; empty when the hive was clean
};

// Refuses (ErrorCode::corrupt, with each log's reason) a dirty hive to which no log applies, and one whose
// bins or root are not sound afterwards. Takes memory for the hive once and for what its logs add.
Result<Recovery> recover(ByteView primary, const std::string& name, std::span<const LogFile> logs);

}  // namespace roamstead::registry
