// Everything a volume can be asked, for tests with hostile volumes.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "common/ntfs/volume.h"

namespace roamstead::support {

// The errors; what the answers are does not matter.
inline std::vector<std::string> ask_everything(const vdisk::BlockDevice& device,
                                               const std::vector<std::string>& paths) {
  std::vector<std::string> errors;
  const auto note = [&](const auto& result) {
    if (!result) errors.push_back(result.error().to_string());
    return result.has_value();
  };
  auto opened = ntfs::Volume::open(device);
  if (!note(opened)) return errors;
  const auto& volume = **opened;
  Bytes buffer(4096);
  note(volume.scan([&](std::uint64_t number, Result<ntfs::FileRecord> file) {
    if (!note(file)) return true;
    for (const auto& name : file->names) note(volume.path_of(name));
    for (const auto& stream : file->streams) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(stream.size_bytes, buffer.size()));
      note(volume.read(stream, 0, MutableByteView(buffer).first(count)));
      note(volume.read(stream, stream.size_bytes - count, MutableByteView(buffer).first(count)));
      volume.device_extents(stream);
    }
    if (file->directory) note(volume.list(number));
    if (file->security_id != 0) note(volume.security_descriptor(file->security_id));
    return true;
  }));
  for (const auto& path : paths) note(volume.lookup(path));
  volume.records_in({0, device.size_bytes()});
  return errors;
}

}  // namespace roamstead::support
