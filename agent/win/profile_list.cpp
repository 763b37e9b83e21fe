#include "agent/win/profile_list.h"

#include <windows.h>

#include <algorithm>
#include <array>

#include "agent/win/base/windows_error.h"
#include "common/base/text.h"

namespace roamstead::agent {
namespace {

constexpr const wchar_t* kList = L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\ProfileList";
constexpr const wchar_t* kOurs = L"Roamstead";

class Key {
 public:
  Key() = default;
  ~Key() {
    if (key_ != nullptr) ::RegCloseKey(key_);
  }
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;
  HKEY* put() { return &key_; }
  HKEY get() const { return key_; }

 private:
  HKEY key_ = nullptr;
};

Result<void> set(HKEY key, const wchar_t* name, DWORD type, const void* data, std::size_t bytes) {
  const auto result =
      ::RegSetValueExW(key, name, 0, type, static_cast<const BYTE*>(data), static_cast<DWORD>(bytes));
  if (result != ERROR_SUCCESS)
    return win::windows_error("ProfileList: set " + win::narrow_text(name),
                              static_cast<unsigned long>(result));
  return {};
}

Result<void> set(HKEY key, const wchar_t* name, DWORD value) {
  return set(key, name, REG_DWORD, &value, sizeof value);
}

// "" when there is none.
std::string image_path(HKEY key) {
  std::array<wchar_t, 2048> path{};
  DWORD bytes = sizeof path - sizeof(wchar_t), type = 0;
  // RegQueryValueEx: what it says is not expanded, as we write it.
  if (::RegQueryValueExW(key, L"ProfileImagePath", nullptr, &type, reinterpret_cast<BYTE*>(path.data()),
                         &bytes) != ERROR_SUCCESS)
    return "";
  return win::narrow_text(path.data());
}

std::wstring entry_path(const std::wstring& sid) { return std::wstring(kList) + L"\\" + sid; }

}  // namespace

Result<void> register_profile(const UserAccount& user, const std::string& folder, bool replace) {
  RS_TRY(const auto sid, win::wide_text(user.sid));
  RS_TRY(auto path, win::wide_text(folder));
  Key key;
  auto result =
      ::RegCreateKeyExW(HKEY_LOCAL_MACHINE, entry_path(sid).c_str(), 0, nullptr, 0,
                        KEY_QUERY_VALUE | KEY_SET_VALUE | KEY_WOW64_64KEY, nullptr, key.put(), nullptr);
  if (result != ERROR_SUCCESS)
    return win::windows_error("ProfileList of " + user.sid, static_cast<unsigned long>(result));
  const auto there = image_path(key.get());
  if (!there.empty() && !same_name(there, folder) && !replace)
    return fail(ErrorCode::conflict, "Windows has a profile of " + user.given + " at " + there +
                                         ": remove it, or set ReplaceLeftovers");
  RS_CHECK(set(key.get(), kOurs, 1));
  RS_CHECK(set(key.get(), L"Flags", 0));
  RS_CHECK(set(key.get(), L"State", 0));
  RS_CHECK(set(key.get(), L"Sid", REG_BINARY, user.sid_bytes.data(), user.sid_bytes.size()));
  RS_CHECK(
      set(key.get(), L"ProfileImagePath", REG_EXPAND_SZ, path.c_str(), (path.size() + 1) * sizeof(wchar_t)));
  result = ::RegFlushKey(key.get());
  if (result != ERROR_SUCCESS)
    return win::windows_error("ProfileList: flush", static_cast<unsigned long>(result));
  return {};
}

Result<void> unregister_profile(const std::string& sid) {
  RS_TRY(const auto ours, registered_profiles());
  if (std::find(ours.begin(), ours.end(), sid) == ours.end()) return {};
  RS_TRY(const auto wide, win::wide_text(sid));
  const auto result = ::RegDeleteKeyExW(HKEY_LOCAL_MACHINE, entry_path(wide).c_str(), KEY_WOW64_64KEY, 0);
  if (result != ERROR_SUCCESS && result != ERROR_FILE_NOT_FOUND)
    return win::windows_error("ProfileList: delete " + sid, static_cast<unsigned long>(result));
  return {};
}

Result<std::vector<std::string>> registered_profiles() {
  std::vector<std::string> ours;
  Key list;
  auto result =
      ::RegOpenKeyExW(HKEY_LOCAL_MACHINE, kList, 0, KEY_ENUMERATE_SUB_KEYS | KEY_WOW64_64KEY, list.put());
  if (result == ERROR_FILE_NOT_FOUND) return ours;
  if (result != ERROR_SUCCESS) return win::windows_error("ProfileList", static_cast<unsigned long>(result));
  std::array<wchar_t, 256> name{};
  for (DWORD index = 0;; ++index) {
    DWORD units = name.size();
    if (::RegEnumKeyExW(list.get(), index, name.data(), &units, nullptr, nullptr, nullptr, nullptr) !=
        ERROR_SUCCESS)
      return ours;
    DWORD value = 0, bytes = sizeof value;
    if (::RegGetValueW(HKEY_LOCAL_MACHINE, entry_path(name.data()).c_str(), kOurs, RRF_RT_REG_DWORD, nullptr,
                       &value, &bytes) == ERROR_SUCCESS)
      ours.push_back(win::narrow_text(name.data()));
  }
}

bool is_hive_loaded(const std::string& sid) {
  const auto wide = win::wide_text(sid);
  Key key;
  return wide && ::RegOpenKeyExW(HKEY_USERS, wide->c_str(), 0, KEY_READ, key.put()) == ERROR_SUCCESS;
}

}  // namespace roamstead::agent
