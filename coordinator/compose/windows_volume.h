// The volume that Windows is installed on, inside a disk, and its hives.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/ntfs/volume.h"
#include "common/registry/recovery.h"
#include "common/vdisk/disk.h"

namespace roamstead::compose {

// Where on a disk it lies. Number 0: a disk without a partition table.
struct WindowsPlace {
  std::uint32_t partition = 0;
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
};

// The one NTFS volume with a Windows\System32\config\SYSTEM. ErrorCode::not_found when there is none;
// unsupported when there are several, or when a volume is encrypted by BitLocker.
Result<WindowsPlace> find_windows(vdisk::BlockDevice& disk);

// A disk open for reading, with its Windows volume.
class WindowsDisk {
 public:
  static Result<std::unique_ptr<WindowsDisk>> open(os::FileSystem& files, const std::string& path);

  const vdisk::Disk& disk() const { return *disk_; }
  const vdisk::BlockDevice& device() const { return *device_; }  // the partition
  const ntfs::Volume& volume() const { return *volume_; }
  const WindowsPlace& place() const { return place_; }

 private:
  WindowsDisk() = default;

  std::unique_ptr<vdisk::Disk> disk_;
  WindowsPlace place_;
  std::unique_ptr<vdisk::SubDevice> device_;
  std::unique_ptr<ntfs::Volume> volume_;
};

// A hive as Windows would see it: what its logs hold is in it.
struct VolumeHive {
  std::string path;
  Bytes file;
  bool was_dirty = false;
  std::uint64_t stored_bytes = 0;      // of the file on the volume, before recovery
  std::vector<std::string> log_paths;  // on the volume
};

// Refuses (with the reason) what cannot be recovered, and a hive with a transaction that was not ended.
Result<VolumeHive> load_hive(const ntfs::Volume& volume, const std::string& path);

}  // namespace roamstead::compose
