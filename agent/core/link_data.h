// Junctions and symbolic links as NTFS stores them.
#pragma once

#include <string>

#include "common/profile/entry.h"

namespace roamstead::agent {

// The reparse point (its 8-byte header and data) of a junction or absolute symbolic link to the entry's
// target below `profile_root` on `drive` ("C:"), as Windows writes it. Which drive it names does not matter
// to whoever reads it back, only what lies below the profile's root. ErrorCode::unsupported for a target too
// long for one.
Result<Bytes> link_data(const profile::Entry& entry, const std::string& profile_root,
                        const std::string& drive = "C:");

}  // namespace roamstead::agent
