// Hives between files and versions: a regf file becomes key records, a version's keys become a regf file.
#pragma once

#include <map>
#include <span>

#include "common/profile/batch.h"
#include "common/registry/recovery.h"
#include "coordinator/repository/repository.h"

namespace roamstead::repository {

// What a hive file holds, as records that make it anew.
struct HiveRecords {
  std::vector<profile::PutKey> keys;  // parents first; the root is the first
  // Data of values that are not inline, by number of key and value.
  std::map<std::pair<std::size_t, std::size_t>, Bytes> data;
  std::uint64_t values = 0;
  std::uint64_t data_bytes = 0;  // of all values
  // Keys and values that cannot be read or kept, and why. Excluded keys are left out without a word.
  std::vector<profile::HeldBack> held_back;
};

// A dirty hive is recovered from its logs first. Refuses what is no hive, and a dirty one that cannot be
// recovered, with the reason.
Result<HiveRecords> read_hive_file(const profile::ProfilePath& hive, ByteView primary,
                                   std::span<const registry::LogFile> logs);

struct HiveFile {
  Bytes bytes;
  std::uint64_t keys = 0;
  std::uint64_t values = 0;
  std::vector<std::string> incomplete;  // what the file could not take, and why
};

// The key `from` of a version's hive with everything below it, as the hive's root: clean, with the keys'
// times, classes and security. A root without a security descriptor gets one for SYSTEM and Administrators;
// other keys without one have their parent's. Takes the file's size in memory.
Result<HiveFile> make_hive_file(const Tree& tree, const profile::ProfilePath& hive,
                                const profile::KeyPath& from = {});

}  // namespace roamstead::repository
