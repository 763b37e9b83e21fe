#include "common/base/thread_stack.h"

#ifdef _WIN32
#include <windows.h>

#include <cstdint>
#endif

namespace roamstead {

void release_unused_stack() {
#ifdef _WIN32
  static const bool wine = ::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "wine_get_version") != nullptr;
  if (!wine) return;
  constexpr std::uintptr_t kPage = 4096;
  constexpr std::uintptr_t kInUse = 16 << 10;  // below this frame: what is called from here
  ULONG_PTR low = 0, high = 0;
  ::GetCurrentThreadStackLimits(&low, &high);
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const auto end = (here - kInUse) & ~(kPage - 1);
  // The lowest pages are the guards.
  const auto guarded = static_cast<std::uintptr_t>(low) + (16 << 10);
  if (end > guarded)
    ::VirtualAlloc(reinterpret_cast<void*>(guarded), end - guarded, MEM_RESET, PAGE_READWRITE);
#endif
}

}  // namespace roamstead
