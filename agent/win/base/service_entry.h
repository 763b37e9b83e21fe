// Services and the service manager's entries of them.
#pragma once

#include <windows.h>

#include <string>

#include "common/base/result.h"

namespace roamstead::win {

class ServiceHandle {
 public:
  explicit ServiceHandle(SC_HANDLE handle) : handle_(handle) {}
  ~ServiceHandle() {
    if (handle_ != nullptr) ::CloseServiceHandle(handle_);
  }
  ServiceHandle(const ServiceHandle&) = delete;
  ServiceHandle& operator=(const ServiceHandle&) = delete;
  SC_HANDLE get() const { return handle_; }
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  SC_HANDLE handle_;
};

// An own process, started with Windows as SYSTEM, started again three times when it fails.
struct ServiceEntry {
  std::wstring name, title, description;
  std::wstring arguments;    // after this program's path
  DWORD preshutdown_ms = 0;  // how long Windows waits for it when it shuts down; 0: as long as for any
};

// Of the program that this process is. ErrorCode::exists.
Result<void> install_service(const ServiceEntry& entry);
// Stops it first; the entry is gone when its last user lets go of it. ErrorCode::not_found.
Result<void> uninstall_service(const std::wstring& name);
// Of this process' own service, from within it.
Result<void> delete_service_entry(const std::wstring& name);
Result<std::string> service_status(const std::wstring& name);  // "running", "stopped", "absent"
Result<std::wstring> own_path();

}  // namespace roamstead::win
