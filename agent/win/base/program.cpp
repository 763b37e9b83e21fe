#include "agent/win/base/program.h"

#include <windows.h>

#include "agent/win/base/windows_error.h"

namespace roamstead::win {

std::vector<std::string> words_of(int count, const wchar_t* const* words) {
  std::vector<std::string> given;
  for (int at = 1; at < count; ++at) given.push_back(narrow_text(words[at]));
  return given;
}

std::string program_data_folder() {
  constexpr auto kPlace = L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\ProfileList";
  constexpr std::wstring_view kSystemDrive = L"%SystemDrive%";
  constexpr UINT kMostUnits = MAX_PATH;
  wchar_t windows[kMostUnits] = L"C:";
  ::GetSystemWindowsDirectoryW(windows, kMostUnits);
  const std::wstring drive(windows, 2);
  wchar_t value[kMostUnits];
  DWORD bytes = sizeof value;
  const auto read = ::RegGetValueW(
      HKEY_LOCAL_MACHINE, kPlace, L"ProgramData",
      RRF_RT_REG_SZ | RRF_RT_REG_EXPAND_SZ | RRF_NOEXPAND | RRF_SUBKEY_WOW6464KEY, nullptr, value, &bytes);
  std::wstring folder = read == ERROR_SUCCESS ? value : L"";
  if (folder.size() > kSystemDrive.size() &&
      ::CompareStringOrdinal(folder.c_str(), static_cast<int>(kSystemDrive.size()), kSystemDrive.data(),
                             static_cast<int>(kSystemDrive.size()), TRUE) == CSTR_EQUAL)
    folder.replace(0, kSystemDrive.size(), drive);
  if (folder.empty() || folder.find(L'%') != std::wstring::npos) folder = drive + L"\\ProgramData";
  return narrow_text(folder);
}

}  // namespace roamstead::win
