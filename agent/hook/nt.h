// What the hook uses of Windows' native interface, beyond winternl.h. From the documentation of the Windows
// driver kit and of ntdll's documented exports.
#pragma once

#include <windows.h>
// After it.
#include <winternl.h>

#include <cstddef>
#include <cstdint>

namespace roamstead::hook {

// Calling convention of ntdll's exports: no matter on 64 bit, __stdcall on 32.
#define ROAMSTEAD_NT NTAPI

inline constexpr NTSTATUS kSuccess = 0;
inline constexpr NTSTATUS kPending = 0x103;
inline constexpr NTSTATUS kTimeout = 0x102;

inline bool failed(NTSTATUS status) { return status < 0; }

// File information classes.
inline constexpr ULONG kBasicInformation = 4, kRenameInformation = 10, kLinkInformation = 11,
                       kDispositionInformation = 13, kPipeInformation = 23, kRenameInformationBypass = 56,
                       kLinkInformationBypass = 57, kDispositionInformationEx = 64, kRenameInformationEx = 65,
                       kRenameInformationExBypass = 66, kLinkInformationEx = 72,
                       kLinkInformationExBypass = 73;

struct BasicInformation {
  LARGE_INTEGER created, accessed, written, changed;
  ULONG attributes;
};

// Of rename and link: the first four bytes are a BOOLEAN or flags.
struct NameInformation {
  ULONG flags;
  HANDLE root;
  ULONG name_bytes;
  WCHAR name[1];
};

// Of a program's start; the class of an attribute is in its lowest 16 bits.
inline constexpr ULONG_PTR kImageNameAttribute = 0x20005;
struct ProcessAttribute {
  ULONG_PTR attribute;
  SIZE_T bytes;
  void* value;
  SIZE_T* returned;
};
struct ProcessAttributes {
  SIZE_T bytes;
  ProcessAttribute attributes[1];
};
inline constexpr ULONG kCreateSuspended = 1;  // thread flag

inline constexpr ULONG kDuplicateCloseSource = 1;
inline constexpr ULONG kPipeTransceive = 0x11C017;  // FSCTL_PIPE_TRANSCEIVE
inline constexpr ULONG kObjectName = 1;             // of NtQueryObject
inline constexpr ULONG kTokenUser = 1;              // of NtQueryInformationToken
inline constexpr ULONG kProcessWow64 = 26;          // of NtQueryInformationProcess

using Apc = void(ROAMSTEAD_NT*)(void*, void*, void*);

}  // namespace roamstead::hook
