// Making an NTFS volume on a block device.
#pragma once

#include <string>

#include "common/vdisk/block_device.h"

namespace roamstead::ntfs3g {

// Formats the whole device, which must be new (all zero): libntfs-3g cannot format, so mkntfs does so on a
// sparse temporary file, and what is not zero there is copied. `partition_offset_bytes` is where the device
// begins on its disk, which Windows wants to find in the boot sector. `most_log_bytes`: $LogFile, all of
// which is written, gets no more than that (a multiple of 4096); 0: what mkntfs gives it, up to 64 MiB.
// ErrorCode::unavailable when mkntfs is not installed (package ntfs-3g).
Result<void> format_ntfs(vdisk::BlockDevice& device, const std::string& label,
                         std::uint64_t partition_offset_bytes = 0, std::uint64_t most_log_bytes = 0);

}  // namespace roamstead::ntfs3g
