// Files opened by name in an open directory.
#pragma once

#include <string>
#include <string_view>

#include "agent/win/base/handle.h"
#include "common/base/result.h"

namespace roamstead::win {

struct OpenOptions {
  ACCESS_MASK access = FILE_READ_ATTRIBUTES;
  ULONG disposition = 1;  // FILE_OPEN
  ULONG options = 0;      // FILE_DIRECTORY_FILE …; what is needed for all of ours is added
  ULONG attributes = FILE_ATTRIBUTE_NORMAL;  // of what is made
};

// Without following it where it is a link, for synchronous use, shared with everybody, and with the
// privileges of backup where the process holds them. `name` is one component, or what "\??\" begins
// (`directory` null); "" opens the same again.
Result<Handle> open_in(HANDLE directory, std::wstring_view name, const OpenOptions& options);

// Turns privileges on that the process has (SE_BACKUP_NAME …); those it lacks are passed over.
void enable_privileges();

}  // namespace roamstead::win
