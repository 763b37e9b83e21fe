// A chain of VHD or VHDX files as libvhdi reads it: a second opinion, by a reader that has faults of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/bytes.h"

namespace roamstead::crosscheck {

// Not thread-safe.
class LibvhdiDisk {
 public:
  // The files from the top layer down. An error carries what libvhdi says.
  static Result<std::unique_ptr<LibvhdiDisk>> open(const std::vector<std::string>& paths);
  ~LibvhdiDisk();
  LibvhdiDisk(const LibvhdiDisk&) = delete;
  LibvhdiDisk& operator=(const LibvhdiDisk&) = delete;

  Result<std::uint64_t> size_bytes() const;
  Result<void> read(std::uint64_t offset, MutableByteView out) const;

 private:
  LibvhdiDisk() = default;

  struct Handle;
  std::vector<std::unique_ptr<Handle>> layers_;  // a child refers to its parent
};

}  // namespace roamstead::crosscheck
