// Is a volume what its own structures say? Every claim is compared with who else makes it: $Bitmap with the
// runs of all files, $MFT:$Bitmap with the records, indexes with the names in the MFT, copies with their
// originals.
#pragma once

#include <functional>
#include <vector>

#include "common/vdisk/block_device.h"
#include "common/vdisk/check_finding.h"

namespace roamstead::ntfs {

struct VolumeCheckOptions {
  std::size_t max_findings = 1000;  // kept; all are counted
  // Clusters and directories are compared in windows, so that memory is bounded whatever the volume claims:
  // each of them is a pass over the MFT. 64 MiB each by default.
  std::uint64_t window_clusters = std::uint64_t{1} << 29;
  std::uint64_t window_records = std::uint64_t{1} << 22;
  std::function<void(std::uint64_t records_done)> progress;  // over all passes
};

struct VolumeCheckReport {
  std::vector<vdisk::Finding> findings;  // offsets are bytes of the volume
  std::uint64_t errors = 0;
  std::uint64_t warnings = 0;
  std::uint64_t notes = 0;
  std::uint64_t files = 0;            // in use, without directories
  std::uint64_t directories = 0;      // in use
  std::uint64_t used_clusters = 0;    // owned by some attribute
  std::uint64_t leaked_clusters = 0;  // marked as used, owned by none
};

// Never writes. An error only where the volume cannot be opened or read at all.
Result<VolumeCheckReport> check_volume(const vdisk::BlockDevice& device,
                                       const VolumeCheckOptions& options = {});

}  // namespace roamstead::ntfs
