// The demo's flow from one end to the other, in one process: a profile is imported, changed on one desktop,
// and found as it was left on another.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/result.h"
#include "common/vdisk/disk.h"

namespace roamstead::flow {

struct FlowOptions {
  std::string directory;  // empty, for disks, repository and logs
  std::size_t files = 300;
  std::uint64_t seed = 1;
  vdisk::Format format = vdisk::Format::vhdx;  // of all disks
};

// Prints a table of what was done; the error says what went wrong or differs.
Result<void> run_flow(const FlowOptions& options);

}  // namespace roamstead::flow
