// Which file owns which clusters of a volume.
#pragma once

#include <set>
#include <vector>

#include "common/base/byte_range.h"
#include "common/ntfs/volume.h"

namespace roamstead::extract {

class ClusterMap {
 public:
  // One pass over the MFT. Records below 24 (NTFS's own files) and damaged ones are left out.
  static Result<ClusterMap> build(const ntfs::Volume& volume);

  // Base records of the files with a cluster in one of these ranges of the volume.
  std::set<std::uint64_t> owners(const std::vector<ByteRange>& ranges) const;
  // Files of which a cluster belongs to another file too.
  const std::set<std::uint64_t>& doubly_owned() const { return doubly_owned_; }

 private:
  struct Piece {
    std::uint64_t offset = 0;  // bytes on the volume
    std::uint64_t length = 0;
    std::uint64_t record = 0;
  };
  std::vector<Piece> pieces_;            // by offset
  std::vector<std::uint64_t> furthest_;  // largest end of pieces_[0 … i]
  std::set<std::uint64_t> doubly_owned_;
};

}  // namespace roamstead::extract
