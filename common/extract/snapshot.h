// One frozen state of the volume a profile lies on: chain, partition and file system.
#pragma once

#include <memory>
#include <string>

#include "common/extract/map_file.h"
#include "common/ntfs/volume.h"
#include "common/vdisk/disk.h"

namespace roamstead::extract {

class Snapshot {
 public:
  // `partition` 0: the first NTFS partition, or the disk itself when it has no table.
  static Result<std::unique_ptr<Snapshot>> open(os::FileSystem& files, const std::string& path,
                                                std::uint32_t partition);

  // What a cluster map of this snapshot is the map of.
  Result<MapState> map_state() const;

  const vdisk::Disk& disk() const { return *disk_; }
  const ntfs::Volume& volume() const { return *volume_; }
  const vdisk::BlockDevice& device() const { return *part_; }  // the volume's bytes
  std::uint64_t volume_offset() const { return volume_offset_; }

 private:
  Snapshot() = default;
  std::unique_ptr<vdisk::Disk> disk_;
  std::uint64_t volume_offset_ = 0;
  std::unique_ptr<vdisk::SubDevice> part_;
  std::unique_ptr<ntfs::Volume> volume_;
};

}  // namespace roamstead::extract
