// A disk as a mounted file system: `disk.raw` is the flat disk, `p1.raw`, `p2.raw` … its partitions.
#pragma once

#include <string>

#include "common/vdisk/disk.h"

namespace roamstead::diskfs {

struct MountOptions {
  std::string disk_path;  // absolute: the server changes to "/" when it becomes a daemon
  std::string mount_point;
  std::string control_path;  // where the control socket is made; empty: none
  bool read_only = false;
  // Writes to partitions stay in the kernel until they are flushed (fsync) or some seconds old, as in the
  // memory of a guest: much faster for file systems that write in small pieces. A snapshot then holds for
  // certain only what was flushed before it, and of later writes any of them.
  bool write_back = false;
  bool foreground = false;
};

// Mounts and serves until unmounted (fusermount3 -u) or told to end by a signal, then flushes the disk.
// Without `foreground` the calling process ends, successfully, once the disk is mounted, and this returns in
// the server only. Writes become durable with fsync, at unmount, and by themselves after a few seconds.
Result<void> mount_disk(const MountOptions& options);

}  // namespace roamstead::diskfs
