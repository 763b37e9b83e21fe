#include "agent/win/base/native_file.h"

#include <vector>

#include "agent/win/base/windows_error.h"

namespace roamstead::win {

Result<Handle> open_in(HANDLE directory, std::wstring_view name, const OpenOptions& options) {
  constexpr std::size_t kMostUnits = 32'767;
  if (name.size() > kMostUnits)
    return fail(ErrorCode::invalid_argument, "a name of " + std::to_string(name.size()) + " characters");
  UNICODE_STRING text{};
  text.Length = text.MaximumLength = static_cast<USHORT>(name.size() * sizeof(wchar_t));
  text.Buffer = const_cast<wchar_t*>(name.data());
  OBJECT_ATTRIBUTES attributes{};
  attributes.Length = sizeof attributes;
  attributes.RootDirectory = directory;
  attributes.ObjectName = &text;
  attributes.Attributes = OBJ_CASE_INSENSITIVE;
  IO_STATUS_BLOCK io{};
  HANDLE opened = nullptr;
  const auto status = ::NtCreateFile(
      &opened, options.access | SYNCHRONIZE, &attributes, &io, nullptr, options.attributes,
      FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, options.disposition,
      options.options | FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_REPARSE_POINT | FILE_OPEN_FOR_BACKUP_INTENT,
      nullptr, 0);
  // Deleted, and there only as long as somebody has it open.
  if (status == kStatusDeletePending) return windows_error("open " + narrow_text(name), ERROR_DELETE_PENDING);
  if (status < 0) return status_error("open " + narrow_text(name), status);
  return Handle(opened);
}

Result<void> read_directory(HANDLE directory, const std::string& what,
                            const std::function<Result<void>(const FileIdBothDirectoryInformation& entry,
                                                             std::wstring name)>& visit) {
  constexpr std::size_t kBufferBytes = 64 << 10;
  std::vector<std::uint64_t> buffer(kBufferBytes / sizeof(std::uint64_t));  // aligned as the entries are
  for (bool restart = true;; restart = false) {
    IO_STATUS_BLOCK io{};
    const auto status =
        NtQueryDirectoryFile(directory, nullptr, nullptr, nullptr, &io, buffer.data(), kBufferBytes,
                             information(kFileIdBothDirectoryInformation), FALSE, nullptr, restart);
    if (status == kStatusNoMoreFiles || status == kStatusNoSuchFile) return {};
    if (status < 0) return status_error("list " + what, status);
    const auto* at = reinterpret_cast<const std::byte*>(buffer.data());
    for (;;) {
      const auto& entry = *reinterpret_cast<const FileIdBothDirectoryInformation*>(at);
      std::wstring name(entry.name, entry.name_bytes / sizeof(wchar_t));
      if (name != L"." && name != L"..") RS_CHECK(visit(entry, std::move(name)));
      if (entry.next_entry == 0) break;
      at += entry.next_entry;
    }
  }
}

void enable_privileges() {
  Handle token;
  if (::OpenProcessToken(::GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, token.put()) == 0)
    return;
  for (const auto* name :
       {L"SeBackupPrivilege", L"SeRestorePrivilege", L"SeTakeOwnershipPrivilege", L"SeSecurityPrivilege"}) {
    TOKEN_PRIVILEGES wanted{};
    wanted.PrivilegeCount = 1;
    wanted.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
    if (::LookupPrivilegeValueW(nullptr, name, &wanted.Privileges[0].Luid) != 0)
      ::AdjustTokenPrivileges(token.get(), FALSE, &wanted, 0, nullptr, nullptr);
  }
}

}  // namespace roamstead::win
