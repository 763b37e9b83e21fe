// The refcounts of a qcow2 file open for writing, and where its next cluster goes.
//
// New clusters come from behind everything the file has, so a cluster that a damaged file uses without
// counting it is never given away. Changes stay in memory until they are written. Used by one thread at a
// time.
#pragma once

#include <map>
#include <set>
#include <unordered_set>

#include "common/vdisk/qcow2_format.h"

namespace roamstead::vdisk::qcow2 {

class Refcounts {
 public:
  // Reads the table and checks that its blocks lie in the file and on nothing in `metadata` (clusters by
  // number); adds them, and itself, to that.
  static Result<Refcounts> read(const os::File& file, const Header& header,
                                std::unordered_set<std::uint64_t>& metadata);

  // A cluster that nobody uses, now counted once; its number.
  Result<std::uint64_t> allocate(const os::File& file);
  // Of a cluster that was allocated and is not used after all.
  Result<void> release(const os::File& file, std::uint64_t cluster);
  Result<std::uint64_t> get(const os::File& file, std::uint64_t cluster);

  // The steps of a flush. 1: everything that nothing in the file refers to yet, and counts of clusters that
  // nothing refers to yet.
  Result<void> write_blocks(os::File& file);
  // 2, after a sync: what makes new blocks known. True when there was something. When the table has moved
  // the header has to say so first: `header` gets its place.
  bool moved() const { return !old_table_.empty(); }
  void place_table(Header& header) const;
  Result<bool> write_entries(os::File& file);
  // 3, when the header that names the moved table is durable: frees the clusters of the old one.
  Result<void> forget_old_table(const os::File& file);

  std::uint64_t next() const { return next_; }  // clusters from this number on are not in use
  std::uint64_t dirty_bytes() const { return dirty_blocks_.size() * cluster_bytes(); }

 private:
  struct Block {
    Bytes content;
  };

  std::uint64_t cluster_bytes() const { return std::uint64_t{1} << cluster_bits_; }
  std::uint64_t per_block() const { return cluster_bytes() * 8 >> order_; }
  Result<std::uint64_t> take(const os::File& file);
  Result<void> cover(const os::File& file, std::uint64_t cluster);
  Result<void> grow_table(const os::File& file);
  Result<Block*> block(const os::File& file, std::uint64_t index);
  Result<void> set(const os::File& file, std::uint64_t cluster, std::uint64_t count);

  std::string path_;
  std::uint32_t cluster_bits_ = 16;
  std::uint32_t order_ = 4;
  std::uint64_t next_ = 0;
  ByteRange place_;                   // of the table
  std::vector<std::uint64_t> table_;  // offsets of blocks, 0: none
  std::vector<ByteRange> old_table_;  // where it was before it moved
  std::map<std::uint64_t, Block> blocks_;
  std::set<std::uint64_t> dirty_blocks_;
  std::set<std::uint64_t> new_entries_;
  std::unordered_set<std::uint64_t>* metadata_ = nullptr;
};

}  // namespace roamstead::vdisk::qcow2
