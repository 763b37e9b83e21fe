#include "agent/win/base/windows_error.h"

#include <windows.h>
// After it.
#include <winternl.h>

#include "common/base/text.h"

namespace roamstead::win {
namespace {

ErrorCode code_of(DWORD number) {
  switch (number) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_SERVICE_DOES_NOT_EXIST:
    case ERROR_NONE_MAPPED:
    case ERROR_DELETE_PENDING:
      return ErrorCode::not_found;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
    case ERROR_SERVICE_EXISTS:
    case ERROR_DIR_NOT_EMPTY:
      return ErrorCode::exists;
    case ERROR_ACCESS_DENIED:
    case ERROR_PRIVILEGE_NOT_HELD:
    case ERROR_WRITE_PROTECT:
      return ErrorCode::denied;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
      return ErrorCode::full;
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
    case ERROR_PIPE_BUSY:
    case ERROR_SERVICE_ALREADY_RUNNING:
      return ErrorCode::busy;
    case ERROR_NOT_SUPPORTED:
    case ERROR_INVALID_FUNCTION:
      return ErrorCode::unsupported;
    case ERROR_INVALID_NAME:
    case ERROR_FILENAME_EXCED_RANGE:
      return ErrorCode::invalid_argument;
    case ERROR_TIMEOUT:
    case ERROR_SEM_TIMEOUT:
      return ErrorCode::timeout;
    default:
      return ErrorCode::io;
  }
}

}  // namespace

tl::unexpected<Error> windows_error(const std::string& what) { return windows_error(what, ::GetLastError()); }

tl::unexpected<Error> windows_error(const std::string& what, unsigned long number) {
  return fail(code_of(number), what + ": Windows error " + std::to_string(number));
}

tl::unexpected<Error> status_error(const std::string& what, long status) {
  return windows_error(what, ::RtlNtStatusToDosError(status));
}

Result<std::wstring> wide_text(const std::string& text) {
  RS_TRY(const auto units, to_utf16(text));
  return std::wstring(units.begin(), units.end());
}

std::string narrow_text(std::wstring_view text) { return to_wtf8(std::u16string(text.begin(), text.end())); }

}  // namespace roamstead::win
