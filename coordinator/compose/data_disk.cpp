#include "coordinator/compose/data_disk.h"

#include "common/os/file.h"

namespace roamstead::compose {

std::string_view to_string(UserDiskFormat format) {
  switch (format) {
    case UserDiskFormat::vhdx:
      return "vhdx";
    case UserDiskFormat::vhd:
      return "vhd";
    case UserDiskFormat::qcow2:
      return "qcow2";
    case UserDiskFormat::vmdk:
      break;
  }
  return "vmdk";
}

std::string data_disk_path(const PoolSpec& spec, const std::string& clone) {
  if (!spec.user_disk) return "";
  const auto& directory = spec.user_disk->directory.empty() ? spec.directory : spec.user_disk->directory;
  return os::join_path(directory, clone + ".data." + std::string(to_string(spec.user_disk->format)));
}

}  // namespace roamstead::compose
