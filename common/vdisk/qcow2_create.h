// Makes new qcow2 files.
#pragma once

#include <optional>

#include "common/vdisk/qcow2_format.h"

namespace roamstead::vdisk::qcow2 {

struct NewDisk {
  std::uint64_t virtual_bytes = 0;  // whole sectors of 512
  std::uint32_t cluster_bytes = kUsualClusterBytes;
  std::string parent_path;  // relative to the file, with '/'; empty: none
  std::optional<Format> parent_format;
  std::optional<Guid> id;  // nothing: a new one; zero: none
};

// Writes a new, empty qcow2 of version 3 under `path` (which must not exist) and flushes it; the name is not
// yet made durable.
Result<void> create_file(os::FileSystem& files, const std::string& path, const NewDisk& disk);

}  // namespace roamstead::vdisk::qcow2
