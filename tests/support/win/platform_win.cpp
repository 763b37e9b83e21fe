#include "tests/support/platform.h"

#include <windows.h>

#include <cstdint>

namespace roamstead::support {

// std::clock() is the time that has passed, here.
double processor_seconds() {
  FILETIME created{}, ended{}, kernel{}, user{};
  ::GetProcessTimes(::GetCurrentProcess(), &created, &ended, &kernel, &user);
  constexpr double kTicksPerSecond = 1e7;
  auto ticks = [](const FILETIME& time) {
    return std::uint64_t{time.dwHighDateTime} << 32 | time.dwLowDateTime;
  };
  return static_cast<double>(ticks(kernel) + ticks(user)) / kTicksPerSecond;
}

bool is_wine() {
  auto* const ntdll = ::GetModuleHandleW(L"ntdll.dll");
  return ntdll != nullptr && ::GetProcAddress(ntdll, "wine_get_version") != nullptr;
}
bool is_windows() { return true; }

}  // namespace roamstead::support
