// A kernel handle that is closed when its owner goes. Closing keeps the thread's last error.
#pragma once

#include <windows.h>

#include <utility>

namespace roamstead::win {

class Handle {
 public:
  Handle() = default;
  explicit Handle(HANDLE handle) : handle_(handle == INVALID_HANDLE_VALUE ? nullptr : handle) {}
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      close();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Handle() { close(); }

  HANDLE get() const { return handle_; }
  explicit operator bool() const { return handle_ != nullptr; }
  // For functions that give a handle through a pointer.
  HANDLE* put() {
    close();
    return &handle_;
  }
  void close() {
    if (handle_ == nullptr) return;
    const auto error = ::GetLastError();
    ::CloseHandle(std::exchange(handle_, nullptr));
    ::SetLastError(error);
  }

 private:
  HANDLE handle_ = nullptr;
};

}  // namespace roamstead::win
