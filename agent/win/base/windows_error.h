// Errors and names as Windows has them, and as we do.
#pragma once

#include <string>

#include "common/base/result.h"

namespace roamstead::win {

// "what: Windows error 5", of the thread's last error.
tl::unexpected<Error> windows_error(const std::string& what);
tl::unexpected<Error> windows_error(const std::string& what, unsigned long number);
// Of an NTSTATUS, by the Windows error it stands for.
tl::unexpected<Error> status_error(const std::string& what, long status);

// ErrorCode::invalid_argument for what is not WTF-8.
Result<std::wstring> wide_text(const std::string& text);
std::string narrow_text(std::wstring_view text);

}  // namespace roamstead::win
