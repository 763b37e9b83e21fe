// A BlockDevice as libntfs-3g's device. The library's own headers stay inside this module: they
// define short macros and types in the global namespace.
#pragma once

#include <string>

#include "common/ntfs3g/library_headers.h"
#include "common/vdisk/block_device.h"

namespace roamstead::ntfs3g {

// What the library's callbacks work on. Lives as long as the ntfs_device made from it.
struct LibraryDevice {
  vdisk::BlockDevice& device;
  bool writable = false;
  std::uint64_t position = 0;
  std::string last_error;  // of the device: the library itself keeps only an errno
  bool was_full = false;   // at some time: what failed afterwards, with whatever errno, failed for that
};

// The library frees the result when a mount of it fails or is taken down; null when memory is short.
ntfs_device* make_library_device(LibraryDevice& device);

}  // namespace roamstead::ntfs3g
