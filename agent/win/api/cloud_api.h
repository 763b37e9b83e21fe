// The Cloud Files API as Microsoft documents it ("cfapi.h" on learn.microsoft.com), in declarations of our
// own: the headers of mingw-w64 have none. cldapi.dll is loaded at run time; Windows has it since 10, version
// 1709. Layouts are those of 64-bit Windows.
#pragma once

#include <windows.h>

#include <cstddef>

namespace roamstead::win {

enum class CfCallbackType : DWORD {
  fetch_data = 0,
  cancel_fetch_data = 2,
  fetch_placeholders = 3,
  cancel_fetch_placeholders = 4,
  notify_close_completion = 6,
  notify_dehydrate = 7,
  notify_dehydrate_completion = 8,
  none = 0xFFFFFFFF,
};
enum class CfOperation : DWORD { transfer_data = 0, transfer_placeholders = 4, ack_dehydrate = 5 };

inline constexpr USHORT kCfHydrationFull = 2;         // read whole when opened for reading
inline constexpr USHORT kCfPopulationFull = 2;        // a directory is asked for as a whole
inline constexpr DWORD kCfRegisterUpdate = 1;         // of a root that is registered
inline constexpr DWORD kCfRegisterRootPopulated = 2;  // the root's own children are all there
inline constexpr DWORD kCfConnectProcessInfo = 2;     // who asks is told
inline constexpr DWORD kCfConnectFullPath = 4;
inline constexpr DWORD kCfConnectBlockSelf = 8;  // what we open ourselves is not hydrated for us
inline constexpr DWORD kCfConvertInSync = 1;
inline constexpr DWORD kCfConvertDehydrate = 2;
inline constexpr DWORD kCfConvertPopulate = 4;  // of a directory: its children are asked for
inline constexpr DWORD kCfStandardInfo = 1;     // CF_PLACEHOLDER_INFO_CLASS
inline constexpr DWORD kCfInSync = 1;
inline constexpr DWORD kCfCompletionDehydrated = 2;
inline constexpr DWORD kCfTransferNoPopulation = 2;  // the directory is complete

inline constexpr LONG kStatusCloudNetworkUnavailable = static_cast<LONG>(0xC000CF11);
inline constexpr LONG kStatusCloudUnsuccessful = static_cast<LONG>(0xC000CF12);
inline constexpr LONG kStatusCloudPinned = static_cast<LONG>(0xC000CF15);
// HRESULTs of Windows' errors 393 and 398: the request is over.
inline constexpr HRESULT kCloudRequestAborted = static_cast<HRESULT>(0x80070189);
inline constexpr HRESULT kCloudRequestCancelled = static_cast<HRESULT>(0x8007018E);

// Of Windows' errors 376 and 390.
inline constexpr HRESULT kNotACloudFile = static_cast<HRESULT>(0x80070178);
inline constexpr HRESULT kNotUnderSyncRoot = static_cast<HRESULT>(0x80070186);

struct CfSyncRegistration {
  DWORD struct_bytes;
  const wchar_t* provider_name;
  const wchar_t* provider_version;
  const void* root_identity;
  DWORD root_identity_bytes;
  const void* file_identity;
  DWORD file_identity_bytes;
  GUID provider;
};
static_assert(sizeof(CfSyncRegistration) == 72);

struct CfSyncPolicies {
  DWORD struct_bytes;
  USHORT hydration, hydration_modifier;
  USHORT population, population_modifier;
  DWORD in_sync, hard_links, placeholder_management;
};
static_assert(sizeof(CfSyncPolicies) == 24);

struct CfProcessInfo {
  DWORD struct_bytes;
  DWORD process;
  const wchar_t* image_path;
  const wchar_t* package_name;
  const wchar_t* application;
  const wchar_t* command_line;
  DWORD session;
};

struct CfCallbackInfo {
  DWORD struct_bytes;
  LONGLONG connection;
  void* context;
  const wchar_t* volume_guid_name;
  const wchar_t* volume_dos_name;
  DWORD volume_serial_number;
  LONGLONG root_file;
  const void* root_identity;
  DWORD root_identity_bytes;
  LONGLONG file;
  LONGLONG file_bytes;
  const void* file_identity;
  DWORD file_identity_bytes;
  const wchar_t* normalized_path;
  LONGLONG transfer;
  UCHAR priority;
  const void* correlation_vector;
  const CfProcessInfo* process;
  LONGLONG request;
};
static_assert(offsetof(CfCallbackInfo, transfer) == 112 && offsetof(CfCallbackInfo, request) == 144);

struct CfFetchData {
  DWORD flags;
  LONGLONG required_offset, required_bytes, optional_offset, optional_bytes, last_dehydration;
  DWORD last_dehydration_reason;
};
struct CfDehydrateCompletion {
  DWORD flags;
  DWORD reason;
};
struct CfCallbackParameters {
  ULONG bytes;
  union {
    CfFetchData fetch_data;
    CfDehydrateCompletion dehydrated;  // the others that come here are not looked at
  } of;
};
static_assert(offsetof(CfCallbackParameters, of) == 8 && offsetof(CfFetchData, required_offset) == 8);

using CfCallback = void(CALLBACK*)(const CfCallbackInfo*, const CfCallbackParameters*);
struct CfCallbackRegistration {
  CfCallbackType type;
  CfCallback callback;
};

struct CfOperationInfo {
  DWORD struct_bytes;
  CfOperation operation;
  LONGLONG connection;
  LONGLONG transfer;
  const void* correlation_vector;
  const void* sync_status;
  LONGLONG request;
};
static_assert(sizeof(CfOperationInfo) == 48);

struct CfPlaceholderCreateInfo {
  const wchar_t* name;
  FILE_BASIC_INFO times;
  LONGLONG file_bytes;
  const void* identity;
  DWORD identity_bytes;
  DWORD flags;
  HRESULT result;
  LONGLONG usn;
};
static_assert(sizeof(CfPlaceholderCreateInfo) == 88);

// Followed by the rest of the identity.
struct CfPlaceholderStandardInfo {
  LARGE_INTEGER on_disk_bytes, validated_bytes, modified_bytes, properties_bytes;
  DWORD pin, in_sync;
  LARGE_INTEGER file, root_file;
  ULONG identity_bytes;
  BYTE identity[1];
};
static_assert(offsetof(CfPlaceholderStandardInfo, pin) == 32 &&
              offsetof(CfPlaceholderStandardInfo, identity) == 60);

struct CfTransferData {
  DWORD flags;
  LONG status;
  const void* buffer;
  LONGLONG offset, bytes;
};
struct CfTransferPlaceholders {
  DWORD flags;
  LONG status;
  LONGLONG total;
  CfPlaceholderCreateInfo* items;
  DWORD count, processed;
};
struct CfAckDehydrate {
  DWORD flags;
  LONG status;
  const void* identity;
  DWORD identity_bytes;
};
struct CfOperationParameters {
  ULONG bytes;  // up to the end of the member in question
  union {
    CfTransferData data;
    CfTransferPlaceholders placeholders;
    CfAckDehydrate dehydrate;
  } of;
};
static_assert(offsetof(CfOperationParameters, of) == 8);

// The functions of cldapi.dll that we use.
struct CloudApi {
  HRESULT(WINAPI* register_root)
  (const wchar_t*, const CfSyncRegistration*, const CfSyncPolicies*, DWORD) = nullptr;
  HRESULT(WINAPI* unregister_root)(const wchar_t*) = nullptr;
  HRESULT(WINAPI* connect)
  (const wchar_t*, const CfCallbackRegistration*, const void*, DWORD, LONGLONG*) = nullptr;
  HRESULT(WINAPI* disconnect)(LONGLONG) = nullptr;
  HRESULT(WINAPI* execute)(const CfOperationInfo*, CfOperationParameters*) = nullptr;
  HRESULT(WINAPI* report_progress)(LONGLONG, LONGLONG, LARGE_INTEGER, LARGE_INTEGER) = nullptr;
  HRESULT(WINAPI* convert)(HANDLE, const void*, DWORD, DWORD, LONGLONG*, OVERLAPPED*) = nullptr;
  HRESULT(WINAPI* placeholder_info)(HANDLE, DWORD, void*, DWORD, DWORD*) = nullptr;
  HRESULT(WINAPI* dehydrate)(HANDLE, LARGE_INTEGER, LARGE_INTEGER, DWORD, OVERLAPPED*) = nullptr;
  HRESULT(WINAPI* hydrate)(HANDLE, LARGE_INTEGER, LARGE_INTEGER, DWORD, OVERLAPPED*) = nullptr;
};

}  // namespace roamstead::win
