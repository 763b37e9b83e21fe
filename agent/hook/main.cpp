// roamstead-hook.dll: makes a program wait for what it touches of a profile that is not there yet.
//
// It has no run-time library, no thread of its own, and keeps nothing on the heap. Loaded into every program
// of a user's session (agent/win/injection, hooks_process.cpp), never into the service.
#include "agent/hook/access.h"
#include "agent/hook/patcher.h"

extern "C" {

// What the compiler calls for copies and clearing.
void* memcpy(void* to, const void* from, std::size_t bytes) {
  auto* at = static_cast<unsigned char*>(to);
  const auto* source = static_cast<const unsigned char*>(from);
#if defined(__x86_64__)
  asm volatile("rep movsb" : "+D"(at), "+S"(source), "+c"(bytes) : : "memory");
#else
  for (; bytes != 0; --bytes) *at++ = *source++;
#endif
  return to;
}
void* memset(void* to, int value, std::size_t bytes) {
  auto* at = static_cast<unsigned char*>(to);
#if defined(__x86_64__)
  asm volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(value) : "memory");
#else
  for (; bytes != 0; --bytes) *at++ = static_cast<unsigned char>(value);
#endif
  return to;
}

// For tests and diagnosis.
__declspec(dllexport) void RoamsteadHookReport(roamstead::hook::PatchReport* report) {
  *report = roamstead::hook::patch_report;
}

#if !defined(__x86_64__)
// rundll32's: its exit status is what 64-bit programs have to know to give this library to 32-bit ones.
__declspec(dllexport) void CALLBACK RoamsteadLoader(HWND, HINSTANCE, LPSTR, int) {
  ::ExitProcess(reinterpret_cast<UINT>(
      reinterpret_cast<void*>(::GetProcAddress(::GetModuleHandleW(L"kernel32.dll"), "LoadLibraryW"))));
}
#endif

BOOL WINAPI RoamsteadHookMain(HINSTANCE self, DWORD reason, LPVOID) {
  using namespace roamstead::hook;
  if (reason != DLL_PROCESS_ATTACH) return TRUE;
  ::DisableThreadLibraryCalls(self);
  HMODULE pinned = nullptr;  // programs must not unload what they jump into
  ::GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                       reinterpret_cast<LPCWSTR>(self), &pinned);
  if (!find_native() || !prepare_asking() || !find_user()) return TRUE;
  prepare_propagation(self);
  look_for_map();
  void* hooks[kHookCount] = {};
  fill_file_hooks(hooks);
  fill_key_hooks(hooks);
  fill_process_hooks(hooks);
  patch_all(hooks);
  return TRUE;
}

}  // extern "C"
