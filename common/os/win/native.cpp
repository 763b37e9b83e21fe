#include "common/os/win/native.h"

#include <windows.h>

#include <algorithm>
#include <array>
#include <vector>

#include "common/base/text.h"

namespace roamstead::os {
namespace {

bool is_letter(wchar_t unit) { return (unit >= L'A' && unit <= L'Z') || (unit >= L'a' && unit <= L'z'); }

// "a\.\b\\c\..\d" → "a\b\d".
std::wstring resolved(const std::wstring& path) {
  std::vector<std::wstring> names;
  for (std::size_t at = 0; at <= path.size();) {
    const auto end = std::min(path.find(L'\\', at), path.size());
    auto name = path.substr(at, end - at);
    if (name == L"..") {
      if (!names.empty()) names.pop_back();
    } else if (!name.empty() && name != L".") {
      names.push_back(std::move(name));
    }
    at = end + 1;
  }
  std::wstring result;
  for (const auto& name : names) result += (result.empty() ? L"" : L"\\") + name;
  return result;
}

}  // namespace

Result<std::wstring> native_path(const std::string& path) {
  RS_TRY(const auto units, to_utf16(path));
  std::wstring name(units.begin(), units.end());
  std::replace(name.begin(), name.end(), L'/', L'\\');
  if (name.starts_with(L"\\\\?\\") || name.starts_with(L"\\\\.\\")) return name;  // said to be Windows' own
  if (name.starts_with(L"\\\\")) return L"\\\\?\\UNC\\" + resolved(name);
  const bool has_drive = name.size() >= 2 && is_letter(name[0]) && name[1] == L':';
  if (has_drive && (name.size() == 2 || name[2] == L'\\'))
    return L"\\\\?\\" + name.substr(0, 2) + L"\\" + resolved(name.substr(2));
  return name;
}

std::string error_text(unsigned long number) {
  std::array<wchar_t, 512> text{};
  const auto length = ::FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr,
                                       number, 0, text.data(), static_cast<DWORD>(text.size()), nullptr);
  std::u16string words(text.begin(), text.begin() + length);
  while (!words.empty() && words.back() <= u' ') words.pop_back();
  return std::to_string(number) + (words.empty() ? "" : " (" + to_wtf8(words) + ")");
}

tl::unexpected<Error> system_error(const std::string& what, const std::string& path) {
  const auto number = ::GetLastError();
  auto code = ErrorCode::io;
  if (number == ERROR_FILE_NOT_FOUND || number == ERROR_PATH_NOT_FOUND) code = ErrorCode::not_found;
  if (number == ERROR_FILE_EXISTS || number == ERROR_ALREADY_EXISTS || number == ERROR_DIR_NOT_EMPTY)
    code = ErrorCode::exists;
  if (number == ERROR_ACCESS_DENIED || number == ERROR_WRITE_PROTECT) code = ErrorCode::denied;
  if (number == ERROR_DISK_FULL || number == ERROR_HANDLE_DISK_FULL) code = ErrorCode::full;
  if (number == ERROR_SHARING_VIOLATION || number == ERROR_LOCK_VIOLATION) code = ErrorCode::busy;
  return fail(code, path + ": " + what + ": Windows error " + error_text(number));
}

}  // namespace roamstead::os
