// Handles that go, and programs that are started: this library goes with them.
#include "agent/hook/access.h"

namespace roamstead::hook {

namespace {

WCHAR own_path[512];
SIZE_T own_path_bytes = 0;
void* load_library = nullptr;
#if defined(__x86_64__)
WCHAR own_path32[512];  // of the library for 32-bit programs, beside this one
SIZE_T own_path32_bytes = 0;
NTSTATUS(ROAMSTEAD_NT* queue_apc_wow64)(HANDLE, void*, void*, void*, void*) = nullptr;
#endif

NTSTATUS ROAMSTEAD_NT close_handle(HANDLE handle) {
  handle_names.forget(handle);
  const auto status = ROAMSTEAD_ORIGINAL(NtClose)(handle);
  handle_names.forget(handle);  // noted by another thread meanwhile
  return status;
}

NTSTATUS ROAMSTEAD_NT duplicate_object(HANDLE from_process, HANDLE from, HANDLE to_process, HANDLE* to,
                                       ACCESS_MASK access, ULONG attributes, ULONG options) {
  const bool closes = (options & kDuplicateCloseSource) != 0 && from_process == this_process();
  if (closes) handle_names.forget(from);
  const auto status =
      ROAMSTEAD_ORIGINAL(NtDuplicateObject)(from_process, from, to_process, to, access, attributes, options);
  if (closes) handle_names.forget(from);
  return status;
}

// What the new process runs: "\??\C:\..."; the loader maps it, and what it imports, before any code of ours.
NTSTATUS before_start(const ProcessAttributes* attributes) {
  const auto* view = map_now();
  if (view == nullptr || attributes == nullptr) return 0;
  const auto count = (attributes->bytes - offsetof(ProcessAttributes, attributes)) / sizeof(ProcessAttribute);
  for (SIZE_T i = 0; i < count && i < 64; ++i) {
    const auto& attribute = attributes->attributes[i];
    if (attribute.attribute != kImageNameAttribute) continue;
    Place place;
    if (!agent::state_map::find_place(*view->header, false, static_cast<const char16_t*>(attribute.value),
                                      attribute.bytes / 2, place))
      return 0;
    return place.units > kMostUnits ? kTooLong : ask_about(*view, Op::image, place, 0);
  }
  return 0;
}

constexpr std::uint64_t kFirst4GiB = std::uint64_t{1} << 32;

// False: that cannot be learnt.
bool is_wow64(HANDLE process, bool& is) {
  ULONG_PTR block = 0;
  if (failed(native.QueryInformationProcess(process, kProcessWow64, &block, sizeof block, nullptr)))
    return false;
  is = block != 0;
  return true;
}

// A path in the process's own memory, `highest` the last address it may have (a mask, or 0: any); null: no.
void* put_path(HANDLE process, const WCHAR* text, SIZE_T text_bytes, ULONG_PTR highest) {
  void* path = nullptr;
  SIZE_T bytes = text_bytes, written = 0;
  if (failed(native.AllocateVirtualMemory(process, &path, highest, &bytes, MEM_COMMIT | MEM_RESERVE,
                                          PAGE_READWRITE)) ||
      failed(native.WriteVirtualMemory(process, path, text, text_bytes, &written)))
    return nullptr;
  return path;
}

#if defined(__x86_64__)
// To a 32-bit program, from one of 64 bits: the service has learnt where it has LoadLibraryW.
void give_library32(HANDLE process, HANDLE thread) {
  const auto* view = current_map.load(std::memory_order_acquire);
  const auto load = agent::state_map::load_library32(view->table);
  if (load == 0 || own_path32_bytes == 0) return;
  constexpr ULONG_PTR kLowest2GiB = 0x7FFF'FFFF;
  auto* path = put_path(process, own_path32, own_path32_bytes, kLowest2GiB);
  if (path == nullptr)
    path = put_path(process, own_path32, own_path32_bytes, 0);  // a Windows that takes no masks
  if (path == nullptr || reinterpret_cast<std::uintptr_t>(path) >= kFirst4GiB) return;
  auto* const routine = reinterpret_cast<void*>(std::uintptr_t{load});
  if (queue_apc_wow64 != nullptr)
    queue_apc_wow64(thread, routine, path, nullptr, nullptr);
  else
    native.QueueApcThread(thread, routine, path, nullptr, nullptr);
}
#endif

// Its first thread loads this library before it begins. Where that is not possible (protected processes, one
// of 64 bits that one of 32 starts) the program runs without: what it sees is what is loaded already, and
// filling brings the rest.
void give_library(HANDLE process, HANDLE thread) {
  bool theirs = false, ours = false;
  if (own_path_bytes == 0 || !is_wow64(process, theirs) || !is_wow64(this_process(), ours)) return;
  if (theirs == ours) {
    if (auto* path = put_path(process, own_path, own_path_bytes, 0))
      native.QueueApcThread(thread, load_library, path, nullptr, nullptr);
    return;
  }
#if defined(__x86_64__)
  give_library32(process, thread);
#endif
}

NTSTATUS ROAMSTEAD_NT create_user_process(HANDLE* process, HANDLE* thread, ACCESS_MASK process_access,
                                          ACCESS_MASK thread_access, OBJECT_ATTRIBUTES* process_attributes,
                                          OBJECT_ATTRIBUTES* thread_attributes, ULONG process_flags,
                                          ULONG thread_flags, void* parameters, void* information,
                                          ProcessAttributes* attributes) {
  if (const auto refused = before_start(attributes); failed(refused)) return refused;
  const auto status = ROAMSTEAD_ORIGINAL(NtCreateUserProcess)(
      process, thread, process_access, thread_access, process_attributes, thread_attributes, process_flags,
      thread_flags | kCreateSuspended, parameters, information, attributes);
  if (failed(status)) return status;
  if (current_map.load(std::memory_order_acquire) != nullptr) give_library(*process, *thread);
  if ((thread_flags & kCreateSuspended) == 0) native.ResumeThread(*thread, nullptr);
  return status;
}

}  // namespace

bool prepare_propagation(HMODULE self) {
  constexpr DWORD kMost = sizeof own_path / sizeof own_path[0];
  const auto units = ::GetModuleFileNameW(self, own_path, kMost);
  load_library =
      reinterpret_cast<void*>(::GetProcAddress(::GetModuleHandleW(L"kernel32.dll"), "LoadLibraryW"));
  if (units == 0 || units >= kMost || load_library == nullptr) return false;
  own_path_bytes = (units + 1) * sizeof(WCHAR);
#if defined(__x86_64__)
  constexpr WCHAR kEnding[] = L"32.dll";
  constexpr DWORD kCut = 4, kMore = 2;  // ".dll", "32"
  if (units > kCut && units + kMore < kMost) {
    for (DWORD i = 0; i < units - kCut; ++i) own_path32[i] = own_path[i];
    for (DWORD i = 0; i < sizeof kEnding / sizeof kEnding[0]; ++i) own_path32[units - kCut + i] = kEnding[i];
    own_path32_bytes = (units + kMore + 1) * sizeof(WCHAR);
  }
  // Wine has one call for both kinds, and ends whoever calls the other one.
  const auto ntdll = ::GetModuleHandleW(L"ntdll.dll");
  if (::GetProcAddress(ntdll, "wine_get_version") == nullptr) {
    queue_apc_wow64 = reinterpret_cast<decltype(queue_apc_wow64)>(
        reinterpret_cast<void*>(::GetProcAddress(ntdll, "RtlQueueApcWow64Thread")));
    if (queue_apc_wow64 == nullptr) own_path32_bytes = 0;
  }
#endif
  return true;
}

void fill_process_hooks(void* (&hooks)[kHookCount]) {
  hooks[kNtClose] = reinterpret_cast<void*>(&close_handle);
  hooks[kNtDuplicateObject] = reinterpret_cast<void*>(&duplicate_object);
  hooks[kNtCreateUserProcess] = reinterpret_cast<void*>(&create_user_process);
}

}  // namespace roamstead::hook
