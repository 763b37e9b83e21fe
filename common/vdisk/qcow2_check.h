// Verifies the structure of a qcow2 file.
#pragma once

#include <string>
#include <vector>

#include "common/os/file.h"
#include "common/vdisk/check_finding.h"

namespace roamstead::vdisk::qcow2 {

// The header, every entry of the L1, L2 and refcount tables, what lies on what, and every refcount against
// what is used; clusters counted and not used are a note. Where there are internal snapshots or bitmaps of
// QEMU's, whose clusters are not followed, only counts that are too low are looked for, and with snapshots
// none. The parent, if there is one, is not looked for.
//
// Goes on after a finding; at most kMaxFindings. An error only when the file cannot be read.
inline constexpr std::size_t kMaxFindings = 1000;
Result<std::vector<Finding>> check_file(os::FileSystem& files, const std::string& path);

}  // namespace roamstead::vdisk::qcow2
