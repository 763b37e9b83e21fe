// A handle of Windows' that is closed with its owner. For win/ folders only.
#pragma once

#include <windows.h>

#include <utility>

namespace roamstead::os {

// Empty: nullptr; INVALID_HANDLE_VALUE counts as empty too. Keeps the last error of what failed before.
class Handle {
 public:
  explicit Handle(HANDLE handle = nullptr) : handle_(handle == INVALID_HANDLE_VALUE ? nullptr : handle) {}
  ~Handle() { close(); }
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  explicit operator bool() const { return handle_ != nullptr; }
  HANDLE get() const { return handle_; }
  HANDLE* put() { return &handle_; }  // for calls that make one
  void close() {
    if (handle_ == nullptr) return;
    const auto error = ::GetLastError();
    ::CloseHandle(std::exchange(handle_, nullptr));
    ::SetLastError(error);
  }

 private:
  HANDLE handle_;
};

}  // namespace roamstead::os
