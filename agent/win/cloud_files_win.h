// The Cloud Files API behind agent/core/cloud_files.h. It translates and decides nothing.
//
// No machine that this was made on has the API (Wine has none), so nothing here was run: docs/testing.md
// lists what a Windows machine has to show.
#pragma once

#include <memory>
#include <string>

#include "agent/core/cloud_files.h"

namespace roamstead::agent {

// `profile_root`: the profile's folder, "C:\Users\alice". ErrorCode::unsupported where Windows has no Cloud
// Files (before Windows 10, version 1709; under Wine): files then come by the hook.
Result<std::unique_ptr<CloudFilesPort>> open_cloud_files(const std::string& profile_root,
                                                         const std::string& version);

}  // namespace roamstead::agent
