// The volume that the command line names: DISK or DISK:PARTITION.
#pragma once

#include <memory>
#include <string>

#include "common/ntfs/volume.h"
#include "common/vdisk/disk.h"

namespace roamstead::cli {

// A disk and the partition chosen; each needs the one before.
struct VolumeDevice {
  std::unique_ptr<vdisk::Disk> disk;
  std::unique_ptr<vdisk::SubDevice> partition;  // null: a disk without partition table

  const vdisk::BlockDevice& device() const {
    return partition ? static_cast<const vdisk::BlockDevice&>(*partition) : *disk;
  }
};

// `number` 0: by the disk's name when that ends in ":NUMBER" (and is not itself a file), else the only
// partition.
Result<VolumeDevice> open_volume_device(std::string disk, std::uint32_t number);

}  // namespace roamstead::cli
