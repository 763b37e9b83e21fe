// Verifies the structure of a VHDX file.
#pragma once

#include <string>
#include <vector>

#include "common/os/file.h"
#include "common/vdisk/check_finding.h"

namespace roamstead::vdisk::vhdx {

// Both headers, both region tables, the log, the metadata, every entry of the block table (state, place,
// overlap with anything else), every sector bitmap in use, and what of the file nothing refers to. Where a
// log holds changes, the file is looked at as it is once they are in place. The parent, if there is one, is
// not looked for.
//
// Goes on after a finding as far as what follows can be told at all; at most kMaxFindings. An error only when
// the file cannot be read.
inline constexpr std::size_t kMaxFindings = 1000;
Result<std::vector<Finding>> check_file(os::FileSystem& files, const std::string& path);

}  // namespace roamstead::vdisk::vhdx
