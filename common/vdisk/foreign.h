// Disk formats of others, which this library recognises but does not read. (coordinator/foreign does, through
// qemu.)
#pragma once

#include <optional>
#include <string>

#include "common/os/file.h"

namespace roamstead::vdisk {

// The format as qemu calls it: "vmdk", "vdi", "qed", "parallels" or "dmg". Nothing: none of them, by its
// content.
Result<std::optional<std::string>> foreign_content(const os::File& file);

// The same, of a file whose name says so too (.vmdk, .vdi, .qed, .hdd, .hds, .dmg). Content alone must not
// decide: a guest writes what it likes to its raw disk, and what a VMDK says makes qemu open other files of
// the host.
Result<std::optional<std::string>> foreign_format(const os::File& file, const std::string& path);

}  // namespace roamstead::vdisk
