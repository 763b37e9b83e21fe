// The Disk behind Disk::open.
#pragma once

#include <mutex>
#include <shared_mutex>

#include "common/vdisk/chain.h"

namespace roamstead::vdisk {

// Locks, taken in this order: structure_mutex_ (freeze, merge: who changes which layers there are),
// write_mutex_ (who changes the top layer), layers_mutex_ (the list itself; shared while it is read,
// exclusive only for the moment of a change).
class ChainDisk final : public Disk {
 public:
  ChainDisk(os::FileSystem& files, std::string path, Access access, Chain chain);

  std::uint64_t size_bytes() const override { return size_bytes_; }
  std::uint32_t sector_bytes() const override { return sector_bytes_; }
  Result<void> read(std::uint64_t offset, MutableByteView out) const override;
  Result<void> write(std::uint64_t offset, ByteView data) override;
  Result<void> flush() override;
  std::string name() const override { return path_; }
  std::vector<LayerInfo> layers() const override;
  Result<RangeSet> extents(std::size_t index) const override;
  Result<Frozen> freeze() override;
  Result<void> merge(std::size_t index) override;

  // What a crash left of a merge. A layer in use by another program is left for the next time.
  Result<void> finish_merges();

 private:
  Result<void> check_range(std::uint64_t offset, std::size_t length) const;
  Result<ChainLayer> layer_at(std::size_t index) const;
  Result<ChainLayer> writable_top() const;
  Result<void> write_units(Layer& top, std::uint64_t offset, ByteView data, std::uint32_t unit);
  Result<void> write_unaligned(Layer& top, std::uint64_t offset, ByteView data, std::uint32_t unit);

  Result<std::string> frozen_path() const;
  Result<void> put_child_on_top(const ChainLayer& top, const std::string& frozen,
                                const std::string& temporary, bool& switched);

  struct MergePair {
    std::size_t index = 0;  // of the upper layer
    ChainLayer upper;
    ChainLayer lower;
  };
  Result<MergePair> merge_pair(std::size_t index) const;
  Result<void> refuse_other_children(const MergePair& pair) const;
  Result<void> lock_pair(MergePair& pair, bool exclusive);
  Result<void> merge_locked(MergePair& pair);
  Result<void> merge_down(MergePair& pair, const RangeSet& upper_extents);
  Result<void> merge_up(MergePair& pair, const RangeSet& upper_extents, const RangeSet& lower_only);
  Result<void> forget_merge(ImageLayer& layer, Lineage lineage);
  Result<void> tidy(std::size_t index);
  Result<void> copy_up(const MergePair& pair, const RangeSet& upper_extents,
                       const RangeSet& lower_only) const;
  Result<void> copy(const Layer& from, Layer& to, const RangeSet& ranges) const;

  os::FileSystem& files_;
  const std::string path_;
  const Access access_;
  const std::uint64_t size_bytes_;
  const std::uint32_t sector_bytes_;
  std::mutex structure_mutex_;
  std::mutex write_mutex_;
  mutable std::shared_mutex layers_mutex_;
  Chain chain_;
  bool lost_ = false;  // under write_mutex_: a freeze failed half-way, the disk must be opened again
};

}  // namespace roamstead::vdisk
