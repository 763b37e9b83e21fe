// Disks in other people's formats (VMDK, VDI, QED, Parallels, DMG), read through qemu: a qemu-nbd of our own
// serves the chain, read-only, over a socket that nobody else sees, and ends with the object.
//
// Which layer holds a piece of the disk is what qemu-nbd calls its allocation depth.
#pragma once

#include <memory>
#include <string>

#include "common/vdisk/disk.h"

namespace roamstead::foreign {

// The whole chain, with qemu's own notion of where parents are. Its layers have Format::foreign; extents are
// those of the clusters that qemu knows to be allocated. Writing, freezing and merging are
// ErrorCode::unsupported. ErrorCode::unavailable: qemu-img or qemu-nbd (package qemu-utils) is not installed.
Result<std::unique_ptr<vdisk::Disk>> open_nbd_disk(const std::string& path, const std::string& format);

// A disk of any format for reading: ours by common/vdisk, others by open_nbd_disk.
Result<std::unique_ptr<vdisk::Disk>> open_any_disk(os::FileSystem& files, const std::string& path,
                                                   const vdisk::OpenOptions& options = {});

}  // namespace roamstead::foreign
