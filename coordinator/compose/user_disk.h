// The user data disk of each desktop, as the specification wants it. It holds what people keep there, so it
// depends on no other disk, stays when its desktop is refreshed, and is deleted only where that is asked for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace roamstead::compose {

enum class UserDiskFormat : std::uint8_t { vhdx, vhd, qcow2, vmdk };
std::string_view to_string(UserDiskFormat format);  // also what files end in

struct UserDiskSpec {
  std::uint64_t size_bytes = 0;
  UserDiskFormat format = UserDiskFormat::vhdx;
  // Partitioned and formatted while the desktop is powered off; else left raw, for the first-boot step
  // `format-data-disk`.
  bool formatted = true;
  bool mbr = false;  // its partition table; else GPT
  std::string label = "Data";
  char letter = 'D';
  std::string directory;        // where it goes; absolute; "" the pool's
  bool reuse_existing = false;  // a disk that an earlier desktop of that name left; else that is refused
};

}  // namespace roamstead::compose
