// Verifies the structure of a VHD file.
#pragma once

#include <string>
#include <vector>

#include "common/os/file.h"
#include "common/vdisk/check_finding.h"

namespace roamstead::vdisk::vhd {

// Both footers, the header, the locators, every entry of the block table (place, overlap with anything else),
// the sector bitmaps of a dynamic disk, and what of the file nothing refers to. The parent, if there is one,
// is not looked for.
//
// Goes on after a finding as far as what follows can be told at all; at most kMaxFindings. An error only when
// the file cannot be read.
inline constexpr std::size_t kMaxFindings = 1000;
Result<std::vector<Finding>> check_file(os::FileSystem& files, const std::string& path);

}  // namespace roamstead::vdisk::vhd
