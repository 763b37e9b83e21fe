// Extractors of the disks that were looked at last, with their maps in the state directory.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "common/extract/extract.h"

namespace roamstead::server {

// Thread-safe.
class ExtractorTable {
 public:
  static constexpr std::size_t kMostOpen = 8;
  static constexpr std::size_t kMostMaps = 64;  // files kept

  ExtractorTable(os::FileSystem& files, std::string directory)
      : files_(files), directory_(std::move(directory)) {}

  // For the disk with this top layer. It stays usable when the table forgets it.
  std::shared_ptr<extract::Extractor> find(const std::string& disk_path);

 private:
  struct Known {
    std::string map_name;
    std::shared_ptr<extract::Extractor> extractor;
  };
  void make_room(const std::string& map_name);

  os::FileSystem& files_;
  const std::string directory_;
  std::mutex mutex_;
  std::list<Known> known_;  // used last in front
};

}  // namespace roamstead::server
