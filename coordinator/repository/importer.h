// Takes a directory tree as a version of a profile: from an ntfs-3g mount with everything NTFS knows of the
// files (by the mount's extended attributes), from any other file system with what stat tells. Files that are
// hives by their names are taken as keys, recovered from their logs; the logs themselves are no part of a
// profile.
#pragma once

#include "coordinator/repository/repository.h"

namespace roamstead::repository {

using ImportProgress = std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

struct ImportResult {
  VersionInfo version;
  std::uint64_t files = 0;
  std::uint64_t directories = 0;
  std::uint64_t hives = 0;           // counted as files too
  std::uint64_t keys = 0;            // in them
  std::uint64_t bytes = 0;           // content, alternate streams and data of values with it
  std::vector<std::string> skipped;  // what is not imported, and why
};

// Makes the profile if there is none. The tree replaces what the profile held, as a new head. `source` must
// not change meanwhile: a file that shrinks or vanishes is an error, and nothing is imported. A hive that is
// none or cannot be recovered is held back by name in the version.
Result<ImportResult> import_directory(Repository& repository, const std::string& profile,
                                      const std::string& source, const ImportProgress& progress);

// The entry of one file or directory on the local file system, and a link's target as it stands there.
struct SourceEntry {
  profile::Entry entry;
  std::uint64_t inode = 0;
  std::uint64_t links = 1;
  bool on_ntfs = false;
  std::vector<std::string> unreadable_streams;
};
// ErrorCode::unsupported for sockets, devices and the like.
Result<SourceEntry> read_source_entry(const std::string& path);
// The whole of an alternate stream.
Result<Bytes> read_source_stream(const std::string& path, const std::string& stream);

}  // namespace roamstead::repository
