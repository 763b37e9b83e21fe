// Reads a whole disk twice, with common/vdisk and with libvhdi, and tells where they differ.
//
// libvhdi 20210425 is known to misread valid files (docs/format-vhd-use.md lists how). A difference that such
// a fault explains is named after it; any other is a fault of one of the two that nobody knows yet.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/vdisk/compact.h"
#include "common/vdisk/disk.h"

namespace roamstead::crosscheck {

struct Difference {
  ByteRange range;    // of the disk; whole sectors
  std::string known;  // libvhdi's fault that explains it; empty when none does
};

struct CrossCheck {
  std::uint64_t compared_bytes = 0;
  std::vector<Difference> differences;  // at most kMaxDifferences
  bool more = false;                    // there were more
  // libvhdi could not read the disk at all, or not to its end, and why.
  std::optional<Error> unreadable;
  std::string known;  // its fault that explains that

  bool has_unknown() const;
};
inline constexpr std::size_t kMaxDifferences = 10'000;

// Errors are ours alone: the disk does not open or cannot be read. A raw disk is ErrorCode::unsupported.
Result<CrossCheck> cross_check(os::FileSystem& files, const std::string& path,
                               const vdisk::Progress& progress = {});

}  // namespace roamstead::crosscheck
