// What of Windows' native file interface (ntdll.dll) the headers of mingw-w64 lack, as Microsoft documents it
// in "ntifs.h" and "Zw/Nt" pages. Structures end in a variable part.
#pragma once

#include <windows.h>
// After it.
#include <winternl.h>

namespace roamstead::win {

inline constexpr NTSTATUS kStatusNoMoreFiles = static_cast<NTSTATUS>(0x80000006);
inline constexpr NTSTATUS kStatusNoSuchFile = static_cast<NTSTATUS>(0xC000000F);
inline constexpr NTSTATUS kStatusNameNotFound = static_cast<NTSTATUS>(0xC0000034);
inline constexpr NTSTATUS kStatusNameCollision = static_cast<NTSTATUS>(0xC0000035);
inline constexpr NTSTATUS kStatusAccessDenied = static_cast<NTSTATUS>(0xC0000022);
inline constexpr NTSTATUS kStatusDeletePending = static_cast<NTSTATUS>(0xC0000056);
inline constexpr NTSTATUS kStatusNotReparsePoint = static_cast<NTSTATUS>(0xC0000275);

// FILE_INFORMATION_CLASS
inline constexpr int kFileBasicInformation = 4;
inline constexpr int kFileStandardInformation = 5;
inline constexpr int kFileInternalInformation = 6;
inline constexpr int kFileRenameInformation = 10;
inline constexpr int kFileDispositionInformation = 13;
inline constexpr int kFileStreamInformation = 22;
inline constexpr int kFileAttributeTagInformation = 35;
inline constexpr int kFileIdBothDirectoryInformation = 37;
inline constexpr int kFileDispositionInformationEx = 64;  // Windows 10, version 1709

inline FILE_INFORMATION_CLASS information(int number) { return static_cast<FILE_INFORMATION_CLASS>(number); }

struct FileBasicInformation {
  LARGE_INTEGER created, accessed, written, changed;
  ULONG attributes;
};
struct FileStandardInformation {
  LARGE_INTEGER allocation_bytes, end_of_file;
  ULONG links;
  BOOLEAN delete_pending, directory;
};
struct FileInternalInformation {
  LARGE_INTEGER index;
};
struct FileAttributeTagInformation {
  ULONG attributes, reparse_tag;
};
struct FileStreamInformation {
  ULONG next_entry, name_bytes;
  LARGE_INTEGER size, allocation_bytes;
  WCHAR name[1];  // ":name:$DATA"
};
struct FileRenameInformation {
  BOOLEAN replace;
  HANDLE root;
  ULONG name_bytes;
  WCHAR name[1];
};
struct FileIdBothDirectoryInformation {
  ULONG next_entry, file_index;
  LARGE_INTEGER created, accessed, written, changed, end_of_file, allocation_bytes;
  ULONG attributes, name_bytes, ea_bytes;
  CCHAR short_name_bytes;
  WCHAR short_name[12];
  LARGE_INTEGER file_id;
  WCHAR name[1];
};
struct FileDispositionInformationEx {
  ULONG flags;
};
inline constexpr ULONG kDispositionDelete = 0x1, kDispositionPosix = 0x2, kDispositionIgnoreReadOnly = 0x10;

extern "C" {
NTSTATUS NTAPI NtQueryDirectoryFile(HANDLE file, HANDLE event, PIO_APC_ROUTINE routine, void* context,
                                    IO_STATUS_BLOCK* status, void* buffer, ULONG length,
                                    FILE_INFORMATION_CLASS information, BOOLEAN single, UNICODE_STRING* name,
                                    BOOLEAN restart);
NTSTATUS NTAPI NtQuerySecurityObject(HANDLE handle, SECURITY_INFORMATION what, void* descriptor, ULONG length,
                                     ULONG* needed);
NTSTATUS NTAPI NtSetSecurityObject(HANDLE handle, SECURITY_INFORMATION what, void* descriptor);
}

}  // namespace roamstead::win
