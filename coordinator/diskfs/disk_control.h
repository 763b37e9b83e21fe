// Talking to a mounted disk: the client of the socket that `roamstead disk mount` serves.
//
// Protocol: one JSON object a line each way over a Unix socket (mode 0600). Requests {"op":"info"},
// {"op":"flush"},
// {"op":"freeze"}, {"op":"merge","layer":N}; the answer is {"ok":true, …} or
// {"error":{"code":…,"message":…}}.
#pragma once

#include <string>
#include <vector>

#include "common/vdisk/disk.h"

namespace roamstead::diskcontrol {

// "<disk path>.control": where the server of a disk listens unless told otherwise.
std::string default_socket(const std::string& disk_path);

// One connection. Not thread-safe. Calls block until the server has done what was asked (a merge may take
// long).
class DiskControl {
 public:
  // ErrorCode::unavailable when nobody serves the socket: the disk is not mounted.
  static Result<DiskControl> connect(const std::string& socket_path);
  DiskControl(DiskControl&& other) noexcept;
  DiskControl& operator=(DiskControl&& other) noexcept;
  DiskControl(const DiskControl&) = delete;
  DiskControl& operator=(const DiskControl&) = delete;
  ~DiskControl();

  // As vdisk::Disk's functions of the same names, with their error codes; ErrorCode::unavailable when the
  // connection breaks, and then whether it was done is not known.
  Result<std::vector<vdisk::LayerInfo>> info();
  Result<vdisk::Disk::Frozen> freeze();
  Result<void> merge(std::size_t layer);
  Result<void> flush();

 private:
  explicit DiskControl(int descriptor) : descriptor_(descriptor) {}
  Result<std::string> call(const std::string& request);

  int descriptor_ = -1;
  std::string unread_;  // of the stream, beyond the last answer
};

}  // namespace roamstead::diskcontrol
