// Copies a disk, with all its layers as one, into a file of any format.
#pragma once

#include "common/vdisk/compact.h"
#include "common/vdisk/disk.h"

namespace roamstead::vdisk {

struct ConvertOptions {
  Format format = Format::vhdx;
  CreateOptions create;  // but its format, and its logical sectors, which are as the source has them
  OpenOptions open;      // where the source is given by its path
};

struct Converted {
  std::uint64_t virtual_bytes = 0;
  std::uint64_t copied_bytes = 0;  // that were not zero
};

// Neither what no layer holds nor what is zero is written. `to` must not exist; it appears when it is
// complete and durable (until then it is TO.partial).
Result<Converted> convert_disk(os::FileSystem& files, const Disk& from, const std::string& to,
                               const ConvertOptions& options, const Progress& progress = {});
Result<Converted> convert_disk(os::FileSystem& files, const std::string& from, const std::string& to,
                               const ConvertOptions& options, const Progress& progress = {});

}  // namespace roamstead::vdisk
