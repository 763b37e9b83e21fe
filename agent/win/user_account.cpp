#include "agent/win/user_account.h"

#include <windows.h>
// After it.
#include <sddl.h>

#include <array>

#include "agent/win/base/windows_error.h"
#include "common/profile/path.h"

namespace roamstead::agent {
namespace {

Result<std::string> text_of(PSID sid) {
  wchar_t* text = nullptr;
  if (::ConvertSidToStringSidW(sid, &text) == 0) return win::windows_error("a user's SID as text");
  auto narrow = win::narrow_text(text);
  ::LocalFree(text);
  return narrow;
}

Bytes bytes_of(PSID sid) {
  const auto* begin = static_cast<const std::byte*>(sid);
  return Bytes(begin, begin + ::GetLengthSid(sid));
}

Result<UserAccount> by_sid(const std::string& text) {
  RS_TRY(const auto wide, win::wide_text(text));
  PSID sid = nullptr;
  if (::ConvertStringSidToSidW(wide.c_str(), &sid) == 0)
    return fail(ErrorCode::invalid_argument, "'" + text + "' is not a SID such as S-1-5-21-1-2-3-1001");
  UserAccount account;
  account.given = account.name = text;
  account.sid = text;
  account.sid_bytes = bytes_of(sid);
  std::array<wchar_t, 257> name{}, domain{};
  DWORD name_units = name.size(), domain_units = domain.size();
  SID_NAME_USE use{};
  if (::LookupAccountSidW(nullptr, sid, name.data(), &name_units, domain.data(), &domain_units, &use) != 0) {
    account.name = win::narrow_text(name.data());
    account.domain = win::narrow_text(domain.data());
  }
  ::LocalFree(sid);
  return account;
}

}  // namespace

Result<UserAccount> find_user(const std::string& text) {
  if (text.starts_with("S-1-")) return by_sid(text);
  RS_TRY(const auto wide, win::wide_text(text));
  UserAccount account;
  account.given = text;
  const auto slash = text.rfind('\\');
  const auto at = text.find('@');
  account.name = slash != std::string::npos ? text.substr(slash + 1) : text.substr(0, at);
  RS_CHECK_CTX("the user", profile::check_name(account.name));  // it names a folder
  std::array<std::byte, SECURITY_MAX_SID_SIZE> sid{};
  std::array<wchar_t, 257> domain{};
  DWORD sid_bytes = sid.size(), domain_units = domain.size();
  SID_NAME_USE use{};
  if (::LookupAccountNameW(nullptr, wide.c_str(), sid.data(), &sid_bytes, domain.data(), &domain_units,
                           &use) == 0)
    return account;
  if (use != SidTypeUser)
    return fail(ErrorCode::invalid_argument, "'" + text + "' is an account, but not a user's");
  account.domain = win::narrow_text(domain.data());
  account.sid_bytes = bytes_of(sid.data());
  RS_TRY(account.sid, text_of(sid.data()));
  return account;
}

}  // namespace roamstead::agent
