// Index trees: $I30 of directories and the view indexes of $Secure. A tree's nodes are the index root
// (resident) and blocks of the index allocation; each block is visited at most once, so a hostile cycle ends.
#pragma once

#include <functional>
#include <optional>

#include "common/ntfs/stream.h"

namespace roamstead::ntfs {

struct IndexEntry {
  std::uint64_t reference = 0;  // of a file in $I30
  ByteView key;
  ByteView data;  // of view indexes; empty in $I30
};

class IndexTree {
 public:
  // `root` is the value of $INDEX_ROOT, `allocation` the $INDEX_ALLOCATION where there is one. All must
  // outlive the tree.
  static Result<IndexTree> open(const vdisk::BlockDevice& device, const Geometry& geometry, ByteView root,
                                const StreamInfo* allocation);

  // Where a wanted key stands towards an entry's: <0 before, 0 equal, >0 after.
  using Compare = std::function<Result<int>(const IndexEntry&)>;
  using Visit = std::function<Result<bool>(const IndexEntry&)>;  // false: stop

  // All entries, in order. `blocks` gets the numbers of the index blocks met, as bits of the index's $BITMAP
  // count them.
  Result<void> for_each(const Visit& visit, std::vector<std::uint64_t>* blocks = nullptr) const;
  // All entries that compare equal, in order, by descending only where they can be.
  Result<void> find(const Compare& compare, const Visit& visit) const;

 private:
  struct Node;
  struct Walk;

  IndexTree(const vdisk::BlockDevice& device, const Geometry& geometry)
      : device_(device), geometry_(geometry) {}
  Result<Bytes> read_block(std::uint64_t vcn) const;
  Result<bool> walk_node(ByteView node, Walk& walk, unsigned depth) const;
  Result<bool> descend(std::uint64_t vcn, Walk& walk, unsigned depth) const;

  const vdisk::BlockDevice& device_;
  const Geometry& geometry_;
  ByteView root_;
  const StreamInfo* allocation_ = nullptr;
  std::uint32_t block_bytes_ = 0;
  std::uint32_t vcn_bytes_ = 0;  // what a block's VCN counts
};

}  // namespace roamstead::ntfs
