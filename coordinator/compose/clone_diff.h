// What a clone's disk holds that its golden image does not: read back from the disk, whatever a plan said.
#pragma once

#include <string>
#include <vector>

#include "common/os/file.h"
#include "coordinator/compose/edit.h"

namespace roamstead::compose {

struct RegistryChange {
  HiveId hive = HiveId::system;
  std::string kind;  // "value added", "key removed" ...
  std::string key;
  bool has_value = false;
  std::string name;           // of the value
  std::string before, after;  // as text; what is known to be a secret is not shown
};

struct FileChange {
  std::string path;
  std::string kind;  // "added", "changed", "removed"
  std::uint64_t size_bytes = 0;
};

struct CloneDiff {
  std::vector<RegistryChange> registry;  // by hive, in the order of its keys
  std::vector<FileChange> files;  // by path; without hives, NTFS's own files and directories that only got
                                  // other entries
};

// Only what differs in bytes is looked at. The disk may be in use: what its VM has not written is not seen.
Result<CloneDiff> diff_clone_disk(os::FileSystem& files, const std::string& image, const std::string& clone);

}  // namespace roamstead::compose
