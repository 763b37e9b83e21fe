// Writes a version to a local directory: with everything NTFS keeps where the target is an ntfs-3g mount,
// otherwise content and modification times. Hives become files again.
#pragma once

#include "coordinator/repository/repository.h"

namespace roamstead::repository {

struct ExportResult {
  std::uint64_t files = 0;
  std::uint64_t directories = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> incomplete;  // what the target could not hold, and why
};

// `target` must not exist, or be an empty directory.
Result<ExportResult> export_tree(const Tree& tree, const std::string& target,
                                 const std::function<void(std::uint64_t done_bytes)>& progress);

}  // namespace roamstead::repository
