// Windows' native registry interface (ntdll.dll), as Microsoft documents it on the "Zw/Nt" pages of the
// kernel reference and in "wdm.h". It is used instead of the Reg functions because these take names that end
// at the first zero: programs can make keys and values with others.
#pragma once

#include <windows.h>
// After it.
#include <winternl.h>

#include "common/base/result.h"

namespace roamstead::win {

inline constexpr NTSTATUS kStatusBufferOverflow = static_cast<NTSTATUS>(0x80000005);
inline constexpr NTSTATUS kStatusNoMoreEntries = static_cast<NTSTATUS>(0x8000001A);
inline constexpr NTSTATUS kStatusBufferTooSmall = static_cast<NTSTATUS>(0xC0000023);
inline constexpr NTSTATUS kStatusObjectNameNotFound = static_cast<NTSTATUS>(0xC0000034);
inline constexpr NTSTATUS kStatusObjectPathNotFound = static_cast<NTSTATUS>(0xC000003A);
inline constexpr NTSTATUS kStatusKeyDeleted = static_cast<NTSTATUS>(0xC000017C);

inline constexpr ULONG kObjectCaseInsensitive = 0x40;
inline constexpr ULONG kObjectOpenLink = 0x100;   // the link itself, not what it leads to
inline constexpr ULONG kOptionBackupRestore = 4;  // by privilege, whatever the key's access list says
inline constexpr ULONG kCreatedNewKey = 1;

// Classes of information.
inline constexpr int kKeyBasicInformation = 0;
inline constexpr int kKeyFullInformation = 2;
inline constexpr int kKeyValueBasicInformation = 0;
inline constexpr int kKeyValueFullInformation = 1;
inline constexpr int kKeyWriteTimeInformation = 0;  // of those to set

// Structures end in a variable part.
struct KeyBasicInformation {
  LARGE_INTEGER written;
  ULONG title_index, name_bytes;
  WCHAR name[1];
};
struct KeyFullInformation {
  LARGE_INTEGER written;
  ULONG title_index, class_offset, class_bytes, subkeys, longest_name, longest_class, values;
  ULONG longest_value_name, longest_data;
  WCHAR class_name[1];
};
struct KeyValueFullInformation {
  ULONG title_index, type, data_offset, data_bytes, name_bytes;
  WCHAR name[1];
};

struct NativeRegistry {
  NTSTATUS(NTAPI* open_key)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, ULONG options);
  NTSTATUS(NTAPI* create_key)
  (HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, ULONG, UNICODE_STRING* class_name, ULONG options,
   ULONG* disposition);
  NTSTATUS(NTAPI* delete_key)(HANDLE);
  NTSTATUS(NTAPI* query_key)(HANDLE, int, void*, ULONG, ULONG*);
  NTSTATUS(NTAPI* enumerate_key)(HANDLE, ULONG, int, void*, ULONG, ULONG*);
  NTSTATUS(NTAPI* enumerate_value)(HANDLE, ULONG, int, void*, ULONG, ULONG*);
  NTSTATUS(NTAPI* query_value)(HANDLE, UNICODE_STRING*, int, void*, ULONG, ULONG*);
  NTSTATUS(NTAPI* set_value)(HANDLE, UNICODE_STRING*, ULONG, ULONG type, void*, ULONG);
  NTSTATUS(NTAPI* delete_value)(HANDLE, UNICODE_STRING*);
  NTSTATUS(NTAPI* flush_key)(HANDLE);
  NTSTATUS(NTAPI* set_key)(HANDLE, int, void*, ULONG);
  NTSTATUS(NTAPI* query_security)(HANDLE, SECURITY_INFORMATION, void*, ULONG, ULONG*);
  NTSTATUS(NTAPI* set_security)(HANDLE, SECURITY_INFORMATION, void*);
};

// ErrorCode::unsupported where one of the functions is missing.
Result<const NativeRegistry*> native_registry();

}  // namespace roamstead::win
