#include "agent/win/registry_settings.h"

#include <windows.h>

#include <algorithm>

#include "agent/desktop/kept_settings.h"
#include "agent/win/base/program.h"
#include "agent/win/base/windows_error.h"

namespace roamstead::agent {
namespace {

Result<SettingsLayer> read_key(const char* path) {
  constexpr DWORD kMostNameUnits = 16'384, kMostValues = 1000, kMostBytes = 1u << 20;
  SettingsLayer layer;
  layer.source = std::string("HKLM\\") + path;
  RS_TRY(const auto wide, win::wide_text(path));
  HKEY key = nullptr;
  const auto opened =
      ::RegOpenKeyExW(HKEY_LOCAL_MACHINE, wide.c_str(), 0, KEY_QUERY_VALUE | KEY_WOW64_64KEY, &key);
  if (opened == ERROR_FILE_NOT_FOUND) return layer;
  if (opened != ERROR_SUCCESS) return win::windows_error(layer.source, static_cast<unsigned long>(opened));
  std::wstring name(kMostNameUnits, L'\0');
  for (DWORD index = 0; index < kMostValues; ++index) {
    DWORD units = kMostNameUnits, type = 0, bytes = 0;
    if (::RegEnumValueW(key, index, name.data(), &units, nullptr, &type, nullptr, &bytes) != ERROR_SUCCESS)
      break;
    RegistryValue value;
    value.name = win::narrow_text(std::wstring_view(name.data(), units));
    if (value.name.empty()) continue;  // the key's default value says nothing
    value.type = type;
    value.data.resize(std::min(bytes, kMostBytes));
    units = kMostNameUnits;
    bytes = static_cast<DWORD>(value.data.size());
    if (::RegEnumValueW(key, index, name.data(), &units, nullptr, &type,
                        reinterpret_cast<BYTE*>(value.data.data()), &bytes) == ERROR_SUCCESS)
      value.data.resize(bytes);
    layer.values.push_back(std::move(value));
  }
  ::RegCloseKey(key);
  return layer;
}

}  // namespace

AgentSettings default_settings() {
  AgentSettings settings;
  const auto base = win::program_data_folder() + "\\Roamstead\\";
  settings.identity_directory = base + "identity";
  settings.state_directory = base + "state";
  settings.log_directory = base + "log";
  return settings;
}

std::string firstboot_folder() { return win::program_data_folder() + "\\Roamstead\\firstboot"; }

LocalSettings read_local_settings() {
  LocalSettings local;
  local.defaults = default_settings();
  for (const auto* path : {kPolicyKey, kPreferenceKey}) {
    if (auto layer = read_key(path)) {
      local.layers.push_back(std::move(*layer));
    } else {
      local.unread.push_back({std::string("HKLM\\") + path, "", layer.error().to_string()});
    }
  }
  return local;
}

settings::SentSettings read_sent_settings(LocalSettings& local) {
  const auto state = local.with({}).settings.state_directory;  // no coordinator sets it
  auto kept = read_kept_settings(os::real_file_system(), state);
  if (kept) return std::move(*kept);
  local.unread.push_back({kFromCoordinator, "", kept.error().to_string()});
  return {};
}

LoadedSettings read_settings() {
  auto local = read_local_settings();
  const auto sent = read_sent_settings(local);
  return local.with(sent);
}

}  // namespace roamstead::agent
