// Tells the coordinator how far a desktop is with what it runs once at its first start.
#pragma once

#include "common/os/file.h"
#include "common/wire/first_boot.h"

namespace roamstead::agent {

// What lies on the mounted volume. ErrorCode::full for files beyond wire::kMostFirstBootBytes.
Result<wire::FirstBootReport> read_first_boot(os::FileSystem& files, const std::string& volume);

// The same of the folder they lie in.
Result<wire::FirstBootReport> read_first_boot_folder(os::FileSystem& files, const std::string& folder);

}  // namespace roamstead::agent
