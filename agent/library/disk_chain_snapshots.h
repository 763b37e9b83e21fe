// Snapshots of a disk that this process itself has open, with its volume in the library.
#pragma once

#include <mutex>

#include "agent/core/snapshot_port.h"
#include "common/ntfs3g/library_volume.h"
#include "common/os/file.h"
#include "common/vdisk/disk.h"

namespace roamstead::agent {

class DiskChainSnapshots final : public SnapshotPort {
 public:
  struct Options {
    std::uint32_t partition = 0;  // 0: the first with NTFS
    std::string provenance_path;  // on the volume
  };
  // All must outlive this. After a freeze the volume goes on writing through the same disk.
  DiskChainSnapshots(os::FileSystem& files, vdisk::Disk& disk, ntfs3g::LibraryVolume& volume, Options options)
      : files_(files), disk_(disk), volume_(volume), options_(std::move(options)) {}

  Result<FrozenLayer> freeze() override;
  Result<std::unique_ptr<Cut>> cut(const FrozenLayer& frozen, const Guid& below) override;
  Result<std::unique_ptr<profile::ContentSource>> open_content(const FrozenLayer& frozen,
                                                               const profile::Batch& batch,
                                                               ByteView locators) override;
  Result<std::size_t> frozen_layers() override;
  Result<void> tidy(const Guid& keep) override;

 private:
  os::FileSystem& files_;
  vdisk::Disk& disk_;
  ntfs3g::LibraryVolume& volume_;
  const Options options_;
  std::mutex mutex_;  // one operation on the chain at a time
};

}  // namespace roamstead::agent
