// Files opened by name in an open directory.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "agent/win/api/native.h"
#include "agent/win/base/handle.h"
#include "agent/win/base/windows_error.h"
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

// A fixed part of what NtQueryInformationFile tells; `number` is its class.
template <class Information>
Result<Information> query_file(HANDLE item, int number, const std::string& what) {
  Information answer{};
  IO_STATUS_BLOCK io{};
  const auto status = ::NtQueryInformationFile(item, &io, &answer, sizeof answer, information(number));
  if (status < 0) return status_error("look at " + what, status);
  return answer;
}

// Calls `visit` for each entry but "." and "..", with its name, until it fails. The directory was opened for
// this alone.
Result<void> read_directory(
    HANDLE directory, const std::string& what,
    const std::function<Result<void>(const FileIdBothDirectoryInformation& entry, std::wstring name)>& visit);

// Of a reparse point's tag: its name stands for another place.
inline bool is_name_surrogate(ULONG tag) { return (tag & 0x2000'0000) != 0; }

// Turns privileges on that the process has (SE_BACKUP_NAME …); those it lacks are passed over.
void enable_privileges();

}  // namespace roamstead::win
