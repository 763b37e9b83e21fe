// ntdll as the hook calls it: past its own patches.
#pragma once

#include "agent/hook/nt.h"

namespace roamstead::hook {

enum HookIndex : unsigned {
#define ROAMSTEAD_HOOK(name) k##name,
#include "agent/hook/functions.inc"
#undef ROAMSTEAD_HOOK
  kHookCount
};

// The intercepted functions: their trampolines where they are patched, else themselves; null where this
// Windows has none. Types are those of the documented prototypes.
extern void* originals[kHookCount];

using NtCreateFileType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, IO_STATUS_BLOCK*,
                                                 LARGE_INTEGER*, ULONG, ULONG, ULONG, ULONG, void*, ULONG);
using NtOpenFileType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, IO_STATUS_BLOCK*,
                                               ULONG, ULONG);
using NtQueryAttributesFileType = NTSTATUS(ROAMSTEAD_NT*)(OBJECT_ATTRIBUTES*, void*);
using NtQueryFullAttributesFileType = NtQueryAttributesFileType;
using NtQueryInformationByNameType = NTSTATUS(ROAMSTEAD_NT*)(OBJECT_ATTRIBUTES*, IO_STATUS_BLOCK*, void*,
                                                             ULONG, ULONG);
using NtQueryDirectoryFileType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE, HANDLE, void*, void*, IO_STATUS_BLOCK*,
                                                         void*, ULONG, ULONG, BOOLEAN, UNICODE_STRING*,
                                                         BOOLEAN);
using NtQueryDirectoryFileExType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE, HANDLE, void*, void*, IO_STATUS_BLOCK*,
                                                           void*, ULONG, ULONG, ULONG, UNICODE_STRING*);
using NtSetInformationFileType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE, IO_STATUS_BLOCK*, void*, ULONG, ULONG);
using NtDeleteFileType = NTSTATUS(ROAMSTEAD_NT*)(OBJECT_ATTRIBUTES*);
using NtOpenKeyType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*);
using NtOpenKeyExType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, ULONG);
using NtOpenKeyTransactedType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, HANDLE);
using NtOpenKeyTransactedExType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, ULONG,
                                                          HANDLE);
using NtCreateKeyType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, ULONG,
                                                UNICODE_STRING*, ULONG, ULONG*);
using NtCreateKeyTransactedType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, ULONG,
                                                          UNICODE_STRING*, ULONG, HANDLE, ULONG*);
using NtRenameKeyType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE, UNICODE_STRING*);
using NtSaveKeyType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE, HANDLE);
using NtSaveKeyExType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE, HANDLE, ULONG);
using NtCloseType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE);
using NtDuplicateObjectType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE, HANDLE, HANDLE, HANDLE*, ACCESS_MASK, ULONG,
                                                      ULONG);
using NtCreateUserProcessType = NTSTATUS(ROAMSTEAD_NT*)(HANDLE*, HANDLE*, ACCESS_MASK, ACCESS_MASK,
                                                        OBJECT_ATTRIBUTES*, OBJECT_ATTRIBUTES*, ULONG, ULONG,
                                                        void*, void*, ProcessAttributes*);

#define ROAMSTEAD_ORIGINAL(name) \
  (reinterpret_cast<::roamstead::hook::name##Type>(::roamstead::hook::originals[::roamstead::hook::k##name]))

// The rest of ntdll that the hook calls; looked up, because not every Windows has all of it.
struct Native {
  NTSTATUS(ROAMSTEAD_NT* QueryObject)(HANDLE, ULONG, void*, ULONG, ULONG*);
  NTSTATUS(ROAMSTEAD_NT* OpenSection)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*);
  NTSTATUS(ROAMSTEAD_NT* MapViewOfSection)
  (HANDLE, HANDLE, void**, ULONG_PTR, SIZE_T, LARGE_INTEGER*, SIZE_T*, ULONG, ULONG, ULONG);
  NTSTATUS(ROAMSTEAD_NT* FsControlFile)
  (HANDLE, HANDLE, void*, void*, IO_STATUS_BLOCK*, ULONG, void*, ULONG, void*, ULONG);
  NTSTATUS(ROAMSTEAD_NT* CreateEvent)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, ULONG, BOOLEAN);
  NTSTATUS(ROAMSTEAD_NT* WaitForSingleObject)(HANDLE, BOOLEAN, LARGE_INTEGER*);
  NTSTATUS(ROAMSTEAD_NT* CancelIoFileEx)(HANDLE, IO_STATUS_BLOCK*, IO_STATUS_BLOCK*);
  NTSTATUS(ROAMSTEAD_NT* DelayExecution)(BOOLEAN, LARGE_INTEGER*);
  NTSTATUS(ROAMSTEAD_NT* ProtectVirtualMemory)(HANDLE, void**, SIZE_T*, ULONG, ULONG*);
  NTSTATUS(ROAMSTEAD_NT* AllocateVirtualMemory)(HANDLE, void**, ULONG_PTR, SIZE_T*, ULONG, ULONG);
  NTSTATUS(ROAMSTEAD_NT* WriteVirtualMemory)(HANDLE, void*, const void*, SIZE_T, SIZE_T*);
  NTSTATUS(ROAMSTEAD_NT* QueueApcThread)(HANDLE, void*, void*, void*, void*);
  NTSTATUS(ROAMSTEAD_NT* ResumeThread)(HANDLE, ULONG*);
  NTSTATUS(ROAMSTEAD_NT* SuspendThread)(HANDLE, ULONG*);
  NTSTATUS(ROAMSTEAD_NT* GetContextThread)(HANDLE, CONTEXT*);
  NTSTATUS(ROAMSTEAD_NT* GetNextThread)(HANDLE, HANDLE, ACCESS_MASK, ULONG, ULONG, HANDLE*);
  NTSTATUS(ROAMSTEAD_NT* QueryInformationProcess)(HANDLE, ULONG, void*, ULONG, ULONG*);
  NTSTATUS(ROAMSTEAD_NT* OpenProcessTokenEx)(HANDLE, ACCESS_MASK, ULONG, HANDLE*);
  NTSTATUS(ROAMSTEAD_NT* QueryInformationToken)(HANDLE, ULONG, void*, ULONG, ULONG*);
  NTSTATUS(ROAMSTEAD_NT* ConvertSidToUnicodeString)(UNICODE_STRING*, void*, BOOLEAN);
};
extern Native native;

// False where something is missing that nothing goes without. Fills `originals` with the exports.
bool find_native();

inline HANDLE this_process() { return reinterpret_cast<HANDLE>(static_cast<LONG_PTR>(-1)); }
inline void close(HANDLE handle) { ROAMSTEAD_ORIGINAL(NtClose)(handle); }
inline void pause(ULONG ms) {
  LARGE_INTEGER time;
  time.QuadPart = -10'000LL * ms;
  native.DelayExecution(FALSE, &time);
}

}  // namespace roamstead::hook
