// Rewrites a layer without what it need not hold.
#pragma once

#include <functional>

#include "common/vdisk/disk.h"

namespace roamstead::vdisk {

// Bytes looked at so far, of how many.
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct Compacted {
  std::uint64_t held_before = 0;  // bytes that the layer itself holds
  std::uint64_t held_after = 0;
  std::uint64_t file_before = 0;  // the file's size
  std::uint64_t file_after = 0;
};

// Leaves out what is zero and has no parent, and what equals the parent. The layer keeps its path, its id and
// its parent, so children of it stay what they are. A new file is written beside it (PATH.compact) and
// renamed over it: a crash leaves the old file or the new one. ErrorCode::busy while anybody has the layer
// open; ErrorCode::unsupported for raw and fixed disks, which hold everything by their nature.
Result<Compacted> compact_disk(os::FileSystem& files, const std::string& path, const Progress& progress = {});

}  // namespace roamstead::vdisk
