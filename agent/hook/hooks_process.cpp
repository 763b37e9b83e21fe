// Handles that go, and programs that are started: this library goes with them.
#include "agent/hook/access.h"

namespace roamstead::hook {

namespace {

WCHAR own_path[512];
SIZE_T own_path_bytes = 0;
void* load_library = nullptr;

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

// Of another kind than this process (32 bit under 64, or the other way round): its library is another one.
bool is_same_kind(HANDLE process) {
  ULONG_PTR theirs = 0, ours = 0;
  return !failed(native.QueryInformationProcess(process, kProcessWow64, &theirs, sizeof theirs, nullptr)) &&
         !failed(
             native.QueryInformationProcess(this_process(), kProcessWow64, &ours, sizeof ours, nullptr)) &&
         (theirs != 0) == (ours != 0);
}

// Its first thread loads this library before it begins. Where that is not possible (protected processes) the
// program runs without: what it sees is what is loaded already, and filling brings the rest.
void give_library(HANDLE process, HANDLE thread) {
  if (own_path_bytes == 0 || !is_same_kind(process)) return;
  void* path = nullptr;
  SIZE_T bytes = own_path_bytes, written = 0;
  if (failed(
          native.AllocateVirtualMemory(process, &path, 0, &bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)))
    return;
  if (!failed(native.WriteVirtualMemory(process, path, own_path, own_path_bytes, &written)))
    native.QueueApcThread(thread, load_library, path, nullptr, nullptr);
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
  return true;
}

void fill_process_hooks(void* (&hooks)[kHookCount]) {
  hooks[kNtClose] = reinterpret_cast<void*>(&close_handle);
  hooks[kNtDuplicateObject] = reinterpret_cast<void*>(&duplicate_object);
  hooks[kNtCreateUserProcess] = reinterpret_cast<void*>(&create_user_process);
}

}  // namespace roamstead::hook
