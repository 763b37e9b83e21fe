#include "agent/win/registry/win_registry_port.h"

#include <windows.h>
// After it.
#include <sddl.h>

#include <algorithm>
#include <array>

#include "agent/core/hive_edits.h"
#include "agent/win/base/native_file.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/base/wine.h"
#include "common/base/log.h"
#include "common/base/text.h"

namespace roamstead::agent {

using profile::KeyPath;

struct WinRegistryPort::Hive {
  profile::ProfilePath in_profile;
  std::string path;   // on the volume
  std::wstring name;  // below HKEY_USERS, where Windows mounts it
  std::wstring root;  // where its keys are: below that, or elsewhere under Wine
  TransferOptions transfer;

  // Saving to the file or through the registry; before the port's own.
  std::shared_ptr<std::mutex> saving = std::make_shared<std::mutex>();
  std::mutex mutex;                    // guards what follows
  std::shared_ptr<NativeHive> native;  // while it is loaded and was used
  profile::Entry file;                 // as it was mounted or made last
  bool ours = false;                   // loaded by this object
  bool unsaved = false;                // the last flush failed
};

namespace {

// Which hives of users Wine's keys were made of, for as long as Wine's server lives: value: a hive's name,
// data: its file.
constexpr const wchar_t* kWineLoaded = L"Software\\Roamstead\\Loaded hives";
constexpr const wchar_t* kHiveList = L"SYSTEM\\CurrentControlSet\\Control\\hivelist";

// What Wine's programs write by themselves as soon as they start is the prefix's, not the user's; the second
// is the other hive's.
constexpr const char* kOwnKeysOfWine[] = {"Software\\Wine", "Software\\Classes",
                                          "Control Panel\\International", "Keyboard Layout\\Preload",
                                          "Volatile Environment"};

struct RegistryKey {
  HKEY key = nullptr;
  ~RegistryKey() {
    if (key != nullptr) ::RegCloseKey(key);
  }
};

// "" where there is no such text.
std::wstring text_in(const wchar_t* key, const std::wstring& value) {
  std::array<wchar_t, 32768> text{};
  DWORD bytes = sizeof text - sizeof(wchar_t);
  if (::RegGetValueW(HKEY_LOCAL_MACHINE, key, value.c_str(), RRF_RT_REG_SZ, nullptr, text.data(), &bytes) !=
      ERROR_SUCCESS)
    return L"";
  return text.data();
}

Result<void> note_loaded(const std::wstring& name, const std::wstring& file) {
  RegistryKey noted;
  auto status = ::RegCreateKeyExW(HKEY_LOCAL_MACHINE, kWineLoaded, 0, nullptr, REG_OPTION_VOLATILE, KEY_WRITE,
                                  nullptr, &noted.key, nullptr);
  if (status == ERROR_SUCCESS && file.empty()) {
    status = ::RegDeleteValueW(noted.key, name.c_str());
    if (status == ERROR_FILE_NOT_FOUND) status = ERROR_SUCCESS;
  } else if (status == ERROR_SUCCESS) {
    status = ::RegSetValueExW(noted.key, name.c_str(), 0, REG_SZ, reinterpret_cast<const BYTE*>(file.c_str()),
                              static_cast<DWORD>((file.size() + 1) * sizeof(wchar_t)));
  }
  if (status == ERROR_SUCCESS) return {};
  return win::windows_error("noting which hives are loaded", static_cast<unsigned long>(status));
}

// The user of this process; "" when that cannot be learnt.
std::string own_sid() {
  win::Handle token;
  std::array<std::byte, sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE> user{};
  DWORD bytes = 0;
  wchar_t* text = nullptr;
  if (::OpenProcessToken(::GetCurrentProcess(), TOKEN_QUERY, token.put()) == 0 ||
      ::GetTokenInformation(token.get(), TokenUser, user.data(), static_cast<DWORD>(user.size()), &bytes) ==
          0 ||
      ::ConvertSidToStringSidW(reinterpret_cast<const TOKEN_USER*>(user.data())->User.Sid, &text) == 0)
    return "";
  auto sid = win::narrow_text(text);
  ::LocalFree(text);
  return sid;
}

bool ends_with(const std::wstring& text, const std::wstring& end) {
  return text.size() >= end.size() &&
         same_name(win::narrow_text(text.substr(text.size() - end.size())), win::narrow_text(end));
}

}  // namespace

WinRegistryPort::WinRegistryPort(Options options, ProfileVolume& volume,
                                 std::function<std::string()> new_staging_path)
    : options_(std::move(options)), volume_(volume), files_(volume, std::move(new_staging_path)) {
  win::enable_privileges();
  const auto user = options_.sid.empty() && win::under_wine() ? own_sid() : options_.sid;
  const auto sid = win::wide_text(user).value_or(L"");
  for (const auto& in_profile : profile::hive_paths()) {
    auto hive = std::make_shared<Hive>();
    const bool classes = in_profile.components().size() > 1;  // UsrClass.dat, deep in AppData
    hive->in_profile = in_profile;
    hive->path = options_.profile_root + "/" + in_profile.text();
    if (!sid.empty()) hive->name = sid + (classes ? L"_Classes" : L"");
    hive->root = L"\\Registry\\User\\" + hive->name;
    hive->transfer.security = false;
    if (win::under_wine() && classes) hive->root = L"\\Registry\\User\\" + sid + L"\\Software\\Classes";
    if (win::under_wine() && !classes)
      for (const char* own : kOwnKeysOfWine) hive->transfer.leave_out.push_back(KeyPath::parse(own).value());
    hives_.push_back(std::move(hive));
  }
}

WinRegistryPort::~WinRegistryPort() = default;

std::wstring WinRegistryPort::windows_path(const Hive& hive) const {
  auto path = win::wide_text(volume_.native_path(hive.path)).value_or(L"");
  std::replace(path.begin(), path.end(), L'/', L'\\');
  return path;
}

// By this file: there may be a temporary profile's instead.
Result<bool> WinRegistryPort::is_mounted(const Hive& hive) {
  const auto path = windows_path(hive);
  if (win::under_wine())
    return same_name(win::narrow_text(text_in(kWineLoaded, hive.name)), win::narrow_text(path));
  RegistryKey there;
  const auto status = ::RegOpenKeyExW(HKEY_USERS, hive.name.c_str(), 0, KEY_QUERY_VALUE, &there.key);
  if (status == ERROR_FILE_NOT_FOUND) return false;
  if (status != ERROR_SUCCESS)
    return win::windows_error("HKEY_USERS\\" + win::narrow_text(hive.name),
                              static_cast<unsigned long>(status));
  // "\Device\HarddiskVolume3\Users\alice\NTUSER.DAT"; the drive's letter is not part of it.
  const auto file = text_in(kHiveList, L"\\REGISTRY\\USER\\" + hive.name);
  const auto slash = path.find(L'\\');
  if (slash != std::wstring::npos && ends_with(file, path.substr(slash))) return true;
  return fail(ErrorCode::conflict, "HKEY_USERS\\" + win::narrow_text(hive.name) + " is loaded from '" +
                                       win::narrow_text(file) + "' and not from " + win::narrow_text(path) +
                                       ": the user has another profile now; log the user off");
}

// With its keys at hand; null when it is not loaded. hive.mutex is not held.
Result<std::shared_ptr<WinRegistryPort::Hive>> WinRegistryPort::loaded(Hive& hive) {
  // First this: keys that unload() has cleared in between would be taken for the hive's, and saved as such.
  std::lock_guard lock(hive.mutex);
  RS_TRY(const bool mounted, is_mounted(hive));
  if (!mounted) {
    hive.native.reset();
    return nullptr;
  }
  if (!hive.native) {
    NativeHive::Options options;
    options.root = hive.root;
    options.keeps_security = !win::under_wine();
    RS_TRY(hive.native, NativeHive::open(std::move(options), win::under_wine()));
  }
  for (const auto& each : hives_)
    if (each.get() == &hive) return each;
  return nullptr;
}

Result<std::shared_ptr<WinRegistryPort::Hive>> WinRegistryPort::find_loaded(const std::string& path) {
  for (const auto& hive : hives_)
    if (same_name(hive->path, path)) return loaded(*hive);
  return nullptr;
}

Result<std::unique_ptr<MountedHive>> WinRegistryPort::mount(const std::string& path,
                                                            const profile::Entry& file) {
  RS_TRY(const auto hive, find_loaded(path));
  if (!hive) return files_.mount(path, file);
  std::lock_guard lock(hive->mutex);
  if (!hive->native) return files_.mount(path, file);  // unloaded just now
  hive->file = file;
  HiveEdits::Host host;
  host.saving = hive->saving;
  if (win::under_wine()) {
    host.leave_out = hive->transfer.leave_out;
    host.mount_file = [this, path, file] { return files_.mount(path, file); };
  } else {
    host.identity = [this, path]() -> Result<extract::ItemIdentity> {
      RS_TRY(const auto item, volume_.stat(path));
      return extract::ItemIdentity{item.record, 0, 0};
    };
  }
  return std::unique_ptr<MountedHive>(std::make_unique<HiveEdits>(hive->native, std::move(host)));
}

Result<std::unique_ptr<MountedHive>> WinRegistryPort::make(const std::string& path,
                                                           const profile::Entry& file,
                                                           const profile::KeyEntry& root) {
  return files_.make(path, file, root);
}

Result<void> WinRegistryPort::flush() {
  for (const auto& hive : hives_) {
    RS_TRY(const auto there, loaded(*hive));
    if (there) RS_CHECK_CTX(hive->path, flush_hive(*there));
  }
  return {};
}

Result<void> WinRegistryPort::flush_hive(Hive& hive) {
  std::lock_guard saving(*hive.saving);
  std::lock_guard lock(hive.mutex);
  if (!hive.native) return {};
  if (!win::under_wine()) return hive.native->flush();
  if (!hive.native->changed() && !hive.unsaved) return {};
  hive.unsaved = true;
  RS_TRY([[maybe_unused]] const bool changed, files_.edit(hive.path, hive.file, [&](registry::Editor& file) {
    return capture_hive(*hive.native, file, hive.transfer);
  }));
  hive.unsaved = false;
  return {};
}

Result<void> WinRegistryPort::load() {
  for (const auto& hive : hives_) {
    RS_TRY(const auto there, loaded(*hive));
    if (!there) RS_CHECK_CTX("loading " + hive->path, load_hive(*hive));
  }
  return {};
}

Result<void> WinRegistryPort::load_hive(Hive& hive) {
  std::lock_guard saving(*hive.saving);
  std::lock_guard lock(hive.mutex);
  if (hive.name.empty()) return {};
  const auto item = volume_.stat(hive.path);
  if (!item && item.error().code != ErrorCode::not_found) return fail(item.error());
  if (!win::under_wine()) {
    if (!item) return {};
    const auto path = windows_path(hive);
    const auto status = ::RegLoadKeyW(HKEY_USERS, hive.name.c_str(), path.c_str());
    if (status != ERROR_SUCCESS) return win::windows_error("RegLoadKey", static_cast<unsigned long>(status));
    hive.ours = true;
    return {};
  }
  NativeHive::Options options;
  options.root = hive.root;
  options.keeps_security = false;
  auto native = NativeHive::open(options, item.has_value());
  if (!item) {  // what a former profile left
    if (native) RS_CHECK(clear_hive(**native, hive.transfer));
    return {};
  }
  RS_TRY(hive.native, std::move(native));
  RS_TRY(const auto file, files_.read(hive.path));
  RS_CHECK(restore_hive(file.hive(), *hive.native, hive.transfer));
  // Looks for changes from here on. One made just now is found by comparing once.
  static_cast<void>(hive.native->changed());
  hive.unsaved = true;
  hive.ours = true;
  return note_loaded(hive.name, windows_path(hive));
}

Result<void> WinRegistryPort::unload() {
  for (auto hive = hives_.rbegin(); hive != hives_.rend(); ++hive) {
    RS_TRY(const auto there, loaded(**hive));
    if (!there) continue;
    RS_CHECK_CTX((*hive)->path, flush_hive(*there));
    RS_CHECK_CTX("unloading " + (*hive)->path, unload_hive(*there));
  }
  return {};
}

Result<void> WinRegistryPort::unload_hive(Hive& hive) {
  std::lock_guard saving(*hive.saving);
  std::lock_guard lock(hive.mutex);
  if (win::under_wine()) {
    // First this: keys that are being cleared must never be taken for the hive's.
    RS_CHECK(note_loaded(hive.name, L""));
    RS_CHECK(clear_hive(*hive.native, hive.transfer));
    hive.native.reset();
    return {};
  }
  hive.native.reset();
  if (!hive.ours) return {};  // whoever loaded it unloads it
  const auto status = ::RegUnLoadKeyW(HKEY_USERS, hive.name.c_str());
  if (status == ERROR_ACCESS_DENIED || status == ERROR_SHARING_VIOLATION)
    return fail(ErrorCode::busy, "programs have keys of it open");
  if (status != ERROR_SUCCESS) return win::windows_error("RegUnLoadKey", static_cast<unsigned long>(status));
  hive.ours = false;
  return {};
}

Result<void> WinRegistryPort::save(const std::string& path, const std::string& to) {
  const auto hive = std::find_if(hives_.begin(), hives_.end(),
                                 [&](const auto& each) { return same_name(each->path, path); });
  if (hive == hives_.end()) return fail(ErrorCode::not_found, path + " is none of a profile's hives");
  RS_TRY(const bool mounted, is_mounted(**hive));
  if (!mounted) return fail(ErrorCode::not_found, path + " is open in a program, and not loaded");
  constexpr DWORD kLatestFormat = 2;
  RegistryKey root;
  auto status =
      ::RegOpenKeyExW(HKEY_USERS, (*hive)->name.c_str(), REG_OPTION_BACKUP_RESTORE, KEY_READ, &root.key);
  if (status != ERROR_SUCCESS)
    return win::windows_error("HKEY_USERS\\" + win::narrow_text((*hive)->name),
                              static_cast<unsigned long>(status));
  auto native = to;
  std::replace(native.begin(), native.end(), '/', '\\');
  RS_TRY(const auto file, win::wide_text(native));
  status = ::RegSaveKeyExW(root.key, file.c_str(), nullptr, kLatestFormat);
  if (status != ERROR_SUCCESS)
    return win::windows_error("save " + path + " as " + to, static_cast<unsigned long>(status));
  return {};
}

Result<bool> WinRegistryPort::is_loaded() {
  for (const auto& hive : hives_) {
    RS_TRY(const bool mounted, is_mounted(*hive));
    if (mounted) return true;
  }
  return false;
}

}  // namespace roamstead::agent
