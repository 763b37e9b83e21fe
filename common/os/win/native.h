// Between our names and errors and those of Windows. For win/ folders only.
#pragma once

#include <string>

#include "common/base/result.h"

namespace roamstead::os {

// A path of ours (UTF-8, '/' or '\\') for Windows' calls. An absolute one (C:/..., //server/share/...) gets
// the form that Windows takes as it is (\\?\C:\...): as long as it likes, and names such as "con" or "a."
// mean themselves; "." and ".." in it are resolved by name, as Windows does. Others stay relative to the
// current folder and drive, and short.
Result<std::wstring> native_path(const std::string& path);

// "5 (Access is denied.)": an error of Windows' in words.
std::string error_text(unsigned long number);

// Windows' last error as ours: "path: what: Windows error ...".
tl::unexpected<Error> system_error(const std::string& what, const std::string& path);

}  // namespace roamstead::os
