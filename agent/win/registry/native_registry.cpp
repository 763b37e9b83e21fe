#include "agent/win/registry/native_registry.h"

#include <optional>

namespace roamstead::win {
namespace {

template <class Function>
bool find_function(HMODULE library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(reinterpret_cast<void*>(::GetProcAddress(library, name)));
  return function != nullptr;
}

std::optional<NativeRegistry> find_all() {
  auto* const library = ::GetModuleHandleW(L"ntdll.dll");
  NativeRegistry found{};
  const bool all = library != nullptr && find_function(library, "NtOpenKeyEx", found.open_key) &&
                   find_function(library, "NtCreateKey", found.create_key) &&
                   find_function(library, "NtDeleteKey", found.delete_key) &&
                   find_function(library, "NtQueryKey", found.query_key) &&
                   find_function(library, "NtEnumerateKey", found.enumerate_key) &&
                   find_function(library, "NtEnumerateValueKey", found.enumerate_value) &&
                   find_function(library, "NtQueryValueKey", found.query_value) &&
                   find_function(library, "NtSetValueKey", found.set_value) &&
                   find_function(library, "NtDeleteValueKey", found.delete_value) &&
                   find_function(library, "NtFlushKey", found.flush_key) &&
                   find_function(library, "NtSetInformationKey", found.set_key) &&
                   find_function(library, "NtQuerySecurityObject", found.query_security) &&
                   find_function(library, "NtSetSecurityObject", found.set_security);
  return all ? std::optional(found) : std::nullopt;
}

}  // namespace

Result<const NativeRegistry*> native_registry() {
  static const auto found = find_all();
  if (!found) return fail(ErrorCode::unsupported, "ntdll.dll lacks functions of the registry");
  return &*found;
}

}  // namespace roamstead::win
