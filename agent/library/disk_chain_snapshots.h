// Snapshots of a disk that this process itself has open, with its volume in the library.
#pragma once

#include "agent/core/chain_snapshots.h"
#include "common/ntfs3g/library_volume.h"

namespace roamstead::agent {

class DiskChainSnapshots final : public ChainSnapshots {
 public:
  // All must outlive this. After a freeze the volume goes on writing through the same disk.
  DiskChainSnapshots(os::FileSystem& files, vdisk::Disk& disk, ntfs3g::LibraryVolume& volume, Options options)
      : ChainSnapshots(files, std::move(options)), disk_(disk), volume_(volume) {}

 private:
  Result<FrozenLayer> freeze_chain() override;
  Result<std::vector<vdisk::LayerInfo>> chain() override { return disk_.layers(); }
  Result<void> merge(std::size_t index) override { return disk_.merge(index); }

  vdisk::Disk& disk_;
  ntfs3g::LibraryVolume& volume_;
};

}  // namespace roamstead::agent
