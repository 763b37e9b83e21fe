// MFT records that are not the same in two snapshots of a volume.
#pragma once

#include <set>

#include "common/base/byte_range.h"
#include "common/ntfs/volume.h"

namespace roamstead::extract {

// Numbers of the records that differ, with the base records they belong to on either side. `changed` are the
// bytes of the volume that differ. `looked_at` counts the records compared. Errors are of the disk below.
Result<std::set<std::uint64_t>> changed_records(const ntfs::Volume& now, const ntfs::Volume& before,
                                                const RangeSet& changed, std::uint64_t& looked_at);

}  // namespace roamstead::extract
