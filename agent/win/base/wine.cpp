#include "agent/win/base/wine.h"

#include <windows.h>

namespace roamstead::win {

std::string wine_version() {
  using Version = const char*(CDECL*)();
  const auto module = ::GetModuleHandleW(L"ntdll.dll");
  const auto version =
      reinterpret_cast<Version>(reinterpret_cast<void*>(::GetProcAddress(module, "wine_get_version")));
  return version != nullptr ? version() : "";
}

bool under_wine() {
  static const bool wine = !wine_version().empty();
  return wine;
}

}  // namespace roamstead::win
