// The program as a Windows service, and its entry with the service manager.
#pragma once

#include <string>

#include "common/base/result.h"

namespace roamstead::firstboot {

// What the coordinator writes into a powered-off desktop's registry is the same entry.
inline constexpr const wchar_t* kServiceName = L"RoamsteadFirstBoot";
inline constexpr const wchar_t* kServiceTitle = L"Roamstead first boot";

// Runs the steps in `folder` as the service manager wants it; returns when the service has stopped.
// ErrorCode::unavailable when the service manager did not start this process.
Result<void> run_as_service(const std::string& folder);

// `folder` "": the usual one. ErrorCode::exists, not_found.
Result<void> install_service(const std::string& folder);
// Stops it first; its entry is gone when its last user lets go of it.
Result<void> uninstall_service();
Result<std::string> service_status();  // "running", "stopped", "absent"

}  // namespace roamstead::firstboot
