// Mapping pairs: where the clusters of an attribute that is not resident lie.
#pragma once

#include <vector>

#include "common/ntfs/volume.h"

namespace roamstead::ntfs {

// Decodes the mapping pairs of one extent, which must hold exactly `clusters` clusters from `first_vcn`, all
// of them on the volume, and appends the runs (neighbours that continue each other are joined).
Result<void> append_runs(ByteView mapping_pairs, std::uint64_t first_vcn, std::uint64_t clusters,
                         std::uint64_t volume_clusters, std::vector<Run>& runs);

// The VCN after the last run.
inline std::uint64_t end_vcn(const std::vector<Run>& runs) {
  return runs.empty() ? 0 : runs.back().vcn + runs.back().clusters;
}

}  // namespace roamstead::ntfs
