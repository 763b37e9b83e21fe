#include "agent/win/intercept/windows_parts.h"

#include <sddl.h>

#include <array>

namespace roamstead::win {

Result<Security> Security::parse(const std::string& sddl) {
  Security made;
  PSECURITY_DESCRIPTOR descriptor = nullptr;
  if (::ConvertStringSecurityDescriptorToSecurityDescriptorW(widen(sddl).c_str(), SDDL_REVISION_1,
                                                             &descriptor, nullptr) == 0)
    return fail(last_windows_error("the security descriptor " + sddl));
  made.descriptor_.reset(descriptor);
  made.attributes_ = {sizeof made.attributes_, descriptor, FALSE};
  return made;
}

Result<std::string> sid_of_token(HANDLE token) {
  alignas(8) std::array<std::byte, 256> buffer{};
  DWORD bytes = 0;
  if (::GetTokenInformation(token, TokenUser, buffer.data(), static_cast<DWORD>(buffer.size()), &bytes) == 0)
    return fail(last_windows_error("whose token this is"));
  wchar_t* text = nullptr;
  if (::ConvertSidToStringSidW(reinterpret_cast<TOKEN_USER*>(buffer.data())->User.Sid, &text) == 0)
    return fail(last_windows_error("the SID of a token"));
  auto sid = narrow(text);
  ::LocalFree(text);
  return sid;
}

Result<std::string> sid_of_process(DWORD process) {
  const auto handle = own(::OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, process));
  HANDLE token = nullptr;
  if (!handle || ::OpenProcessToken(handle.get(), TOKEN_QUERY, &token) == 0)
    return fail(last_windows_error("whose process " + std::to_string(process) + " is"));
  const auto owned = own(token);
  return sid_of_token(token);
}

Result<std::string> own_sid() { return sid_of_process(::GetCurrentProcessId()); }

Result<std::string> program_of_process(DWORD process) {
  const auto handle = own(::OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, process));
  std::array<wchar_t, 1024> path{};
  auto units = static_cast<DWORD>(path.size());
  if (!handle || ::QueryFullProcessImageNameW(handle.get(), 0, path.data(), &units) == 0)
    return fail(last_windows_error("what process " + std::to_string(process) + " runs"));
  return narrow(std::wstring(path.data(), units));
}

}  // namespace roamstead::win
