// Used by the sources of this module only.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/result.h"

namespace roamstead::ntfs3g {

// Gives the empty $LogFile of the volume in the file `path` (which is open as `descriptor` too) that many
// bytes where it has more. What it had beyond them is a hole of the file then.
Result<void> shrink_log(const std::string& path, int descriptor, std::uint64_t bytes);

}  // namespace roamstead::ntfs3g
