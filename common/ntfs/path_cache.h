// Paths of directories by reference, so that each is worked out once.
#pragma once

#include <functional>
#include <shared_mutex>
#include <string>
#include <unordered_map>

#include "common/ntfs/volume.h"

namespace roamstead::ntfs {

// Thread-safe. Holds at most some 64 MiB of paths, then starts afresh.
class PathCache {
 public:
  explicit PathCache(FileReference root) : root_(root) {}

  // The name of the directory a reference means, in its parent; an error where the record is not that
  // directory.
  using DirectoryName = std::function<Result<NameInfo>(FileReference)>;

  // The path of the directory, "" for the root. A cycle, or a path longer than Windows can have, is an error.
  Result<std::string> directory_path(FileReference directory, const DirectoryName& name_of) const;

 private:
  struct Known {
    std::uint16_t sequence = 0;
    std::string path;
  };
  bool find(FileReference directory, std::string& path) const;
  void remember(FileReference directory, const std::string& path) const;

  const FileReference root_;
  mutable std::shared_mutex mutex_;
  mutable std::unordered_map<std::uint64_t, Known> known_;
  mutable std::size_t known_bytes_ = 0;
};

}  // namespace roamstead::ntfs
