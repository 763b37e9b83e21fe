// Makes new VHD files.
#pragma once

#include <optional>

#include "common/vdisk/vhd_format.h"

namespace roamstead::vdisk::vhd {

struct NewDisk {
  DiskType type = DiskType::dynamic;
  std::uint64_t virtual_bytes = 0;
  std::uint32_t block_bytes = kDefaultBlockBytes;
  Guid id = Guid::random();
  std::optional<Footer> like;  // size and geometry as there
  // Of a differencing disk.
  Guid parent_id;
  std::string parent_name;
  std::optional<std::int64_t> parent_modified;  // seconds since 1970
  std::vector<Locator> locators;                // their places are chosen here
  // Seconds since 2000, for the creation time.
  std::uint32_t now = seconds_since_2000();

  static std::uint32_t seconds_since_2000();
};

// Writes a new, empty VHD under `path` (which must not exist) and flushes it; the name is not yet made
// durable.
Result<void> create_file(os::FileSystem& files, const std::string& path, const NewDisk& disk);

}  // namespace roamstead::vdisk::vhd
