// Small pieces of Windows that the files here share.
#pragma once

#include <windows.h>

#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/base/text.h"

namespace roamstead::win {

struct CloseHandleOnly {
  void operator()(HANDLE handle) const { ::CloseHandle(handle); }
};
using OwnedHandle = std::unique_ptr<void, CloseHandleOnly>;  // never INVALID_HANDLE_VALUE

inline OwnedHandle own(HANDLE handle) {
  return OwnedHandle(handle == INVALID_HANDLE_VALUE ? nullptr : handle);
}

inline Error last_windows_error(const std::string& what) {
  const auto code = ::GetLastError();
  const auto kind = code == ERROR_ACCESS_DENIED    ? ErrorCode::denied
                    : code == ERROR_ALREADY_EXISTS ? ErrorCode::exists
                    : code == ERROR_FILE_NOT_FOUND ? ErrorCode::not_found
                    : code == ERROR_PIPE_BUSY      ? ErrorCode::busy
                                                   : ErrorCode::io;
  return {kind, what + ": Windows error " + std::to_string(code)};
}

inline std::string narrow(const std::wstring& wide) {
  return to_wtf8({reinterpret_cast<const char16_t*>(wide.data()), wide.size()});
}
inline std::wstring widen(const std::string& text) {
  const auto units = to_utf16(text);
  if (!units) return {};
  return {reinterpret_cast<const wchar_t*>(units->data()), units->size()};
}

// Security attributes from their text form.
class Security {
 public:
  static Result<Security> parse(const std::string& sddl);
  SECURITY_ATTRIBUTES* get() { return &attributes_; }

 private:
  struct FreeLocal {
    void operator()(void* memory) const { ::LocalFree(memory); }
  };
  std::unique_ptr<void, FreeLocal> descriptor_;
  SECURITY_ATTRIBUTES attributes_{};
};

// "S-1-5-…" of a token's user.
Result<std::string> sid_of_token(HANDLE token);
Result<std::string> sid_of_process(DWORD process);  // and of the process with this id
Result<std::string> own_sid();
// "C:\Program Files\x\y.exe"
Result<std::string> program_of_process(DWORD process);

}  // namespace roamstead::win
