#include "agent/win/image.h"

#include <windows.h>
#include <winioctl.h>

#include <array>
#include <nlohmann/json.hpp>

#include "agent/core/session.h"
#include "agent/desktop/kept_settings.h"
#include "agent/win/agent_scm.h"
#include "agent/win/base/service_entry.h"
#include "agent/win/base/windows_error.h"
#include "agent/win/control_pipe.h"
#include "agent/win/profile_list.h"
#include "agent/win/win_desktop.h"
#include "agent/win/win_volume.h"
#include "common/changelog/change_log.h"
#include "common/extract/provenance_journal.h"

namespace roamstead::agent {
namespace {

constexpr const wchar_t* kSessionManager = L"SYSTEM\\CurrentControlSet\\Control\\Session Manager";

// What the agent keeps in its folder on the profile's volume. Not all of it: first-boot steps, the identity
// and others' files may lie there too.
constexpr const char* kOnVolume[] = {"unused", "provenance.journal", "staging", "registry"};
constexpr const char* kTrash = "trash-";

std::optional<DWORD> number_of(const wchar_t* key, const wchar_t* name) {
  DWORD value = 0, bytes = sizeof value;
  if (::RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_DWORD, nullptr, &value, &bytes) !=
      ERROR_SUCCESS)
    return std::nullopt;
  return value;
}

bool key_is_there(const wchar_t* path) {
  HKEY key = nullptr;
  if (::RegOpenKeyExW(HKEY_LOCAL_MACHINE, path, 0, KEY_READ | KEY_WOW64_64KEY, &key) != ERROR_SUCCESS)
    return false;
  ::RegCloseKey(key);
  return true;
}

// Pairs of names; the second is empty where the file is deleted.
std::vector<std::string> pending_renames() {
  DWORD bytes = 0;
  if (::RegGetValueW(HKEY_LOCAL_MACHINE, kSessionManager, L"PendingFileRenameOperations", RRF_RT_REG_MULTI_SZ,
                     nullptr, nullptr, &bytes) != ERROR_SUCCESS)
    return {};
  std::wstring text(bytes / sizeof(wchar_t) + 1, L'\0');
  if (::RegGetValueW(HKEY_LOCAL_MACHINE, kSessionManager, L"PendingFileRenameOperations", RRF_RT_REG_MULTI_SZ,
                     nullptr, text.data(), &bytes) != ERROR_SUCCESS)
    return {"(unreadable)"};
  std::vector<std::string> names;
  bool source = true;
  const std::wstring_view all(text.data(), bytes / sizeof(wchar_t));
  for (std::size_t at = 0; at < all.size(); source = !source) {
    const auto end = std::min(all.find(L'\0', at), all.size());
    if (source && end != at) names.push_back(win::narrow_text(all.substr(at, end - at)));
    at = end + 1;
  }
  return names;
}

std::optional<bool> is_dirty(const std::string& drive) {
  const auto name = win::wide_text("\\\\.\\" + drive);
  if (!name) return std::nullopt;
  const win::Handle volume(::CreateFileW(name->c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                         nullptr, OPEN_EXISTING, 0, nullptr));
  DWORD flags = 0, count = 0;
  if (!volume || ::DeviceIoControl(volume.get(), FSCTL_IS_VOLUME_DIRTY, nullptr, 0, &flags, sizeof flags,
                                   &count, nullptr) == 0)
    return std::nullopt;
  return (flags & VOLUME_IS_DIRTY) != 0;
}

bool is_there(const std::string& path) {
  const auto wide = win::wide_text(path);
  return wide && ::GetFileAttributesW(wide->c_str()) != INVALID_FILE_ATTRIBUTES;
}

// Names of what sessions left in the agent's folder on the volume.
Result<std::vector<std::string>> left_on_volume(WinVolume& volume, const std::string& agent_root) {
  std::vector<std::string> left;
  auto items = volume.list(agent_root);
  if (!items && items.error().code == ErrorCode::not_found) return left;
  if (!items) return fail(items.error());
  for (const auto& item : *items) {
    const bool ours = item.name.starts_with(kTrash) ||
                      std::find(std::begin(kOnVolume), std::end(kOnVolume), item.name) != std::end(kOnVolume);
    if (ours) left.push_back(agent_root + "/" + item.name);
  }
  return left;
}

// With what scans keep, which is named as the folder is.
std::vector<std::string> state_files(const AgentSettings& settings) {
  std::vector<std::string> found;
  for (const auto* name : {"change.log", "change.log-wal", "change.log-shm", "clusters.map", kKeptSettings})
    if (const auto path = settings.state_directory + "\\" + name; is_there(path)) found.push_back(path);
  const auto scan = scan_directory(settings);
  if (const auto names = os::real_file_system().list_directory(scan)) {
    for (const auto& name : *names) found.push_back(scan + "\\" + name);
    found.push_back(scan);
  }
  return found;
}

// Nothing: no session was ever begun here, or the last one is closed and everything was sent.
Result<void> check_closed(const AgentSettings& settings) {
  const auto path = settings.state_directory + "\\change.log";
  if (!is_there(path)) return {};
  RS_TRY_CTX(auto log, path, changelog::ChangeLog::open(os::real_file_system(), path));
  RS_TRY(const auto facts, log->session());
  RS_TRY(const auto waiting, log->pending());
  if ((facts && facts->open) || waiting != 0)
    return fail(ErrorCode::conflict,
                "the session of '" + facts->profile +
                    "' is open: log it off first, or say --force to lose what it did not send");
  return {};
}

Result<void> remove_files(const std::string& folder, std::vector<std::string>& removed) {
  auto& files = os::real_file_system();
  RS_TRY(const bool there, files.exists(folder));
  if (!there) return {};
  RS_TRY(const auto names, files.list_directory(folder));
  for (const auto& name : names) RS_CHECK(files.remove(folder + "\\" + name));
  RS_CHECK(files.remove(folder));
  removed.push_back(folder);
  return {};
}

}  // namespace

ImageFacts find_image_facts(const AgentSettings& settings) {
  ImageFacts facts;
  // Off where Windows says nothing: it is a choice of Windows' set-up, which writes it down.
  facts.fast_startup =
      number_of((std::wstring(kSessionManager) + L"\\Power").c_str(), L"HiberbootEnabled").value_or(0) != 0;
  wchar_t windows[MAX_PATH] = L"";
  if (::GetSystemWindowsDirectoryW(windows, MAX_PATH) != 0)
    facts.hibernation_file = is_there(win::narrow_text(std::wstring_view(windows, 2)) + "\\hiberfil.sys");
  facts.pending_renames = pending_renames();
  facts.reboot_pending =
      key_is_there(
          L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending") ||
      key_is_there(
          L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update\\RebootRequired");
  facts.volume_dirty = is_dirty(settings.drive);
  if (const auto policy =
          number_of(L"SYSTEM\\CurrentControlSet\\Services\\partmgr\\Parameters", L"SanPolicy"))
    facts.san_policy = *policy;
  facts.identity = is_there(settings.identity_directory + "\\key.pem") ||
                   is_there(settings.identity_directory + "\\identity.pem");
  WinVolume::Options options;
  options.drive = settings.drive;
  if (auto volume = WinVolume::attach(options)) {
    auto left = left_on_volume(**volume, SessionConfig().agent_root);
    if (left) {
      const auto more = state_files(settings);
      left->insert(left->end(), more.begin(), more.end());
      facts.left_of_sessions = std::move(*left);
    }
  }
  if (auto profiles = registered_profiles()) facts.profiles = std::move(*profiles);
  if (auto status = win::service_status(kAgentService)) facts.service = std::move(*status);
  return facts;
}

Result<std::vector<std::string>> generalize(const AgentSettings& settings, bool force) {
  if (ask_agent({{"op", "ping"}}))
    return fail(ErrorCode::busy, "the agent runs: stop it first ('net stop RoamsteadAgent')");
  if (!force) RS_CHECK(check_closed(settings));
  std::vector<std::string> removed;
  WinVolume::Options options;
  options.drive = settings.drive;
  RS_TRY(auto volume, WinVolume::attach(options));
  const auto agent_root = SessionConfig().agent_root;
  const auto shown = [&](const std::string& path) { return settings.drive + "/" + path; };
  // The profile first: what says where it lies goes after it.
  auto journal = extract::ProvenanceJournal::open(volume->files(),
                                                  volume->native_path(agent_root + "/provenance.journal"));
  if (journal) {
    const auto root = (*journal)->header().profile_root;
    journal->reset();
    if (volume->stat(root)) {
      RS_CHECK_CTX("the profile of the last session", volume->remove_tree(root));
      removed.push_back(shown(root));
    }
  }
  RS_TRY(const auto left, left_on_volume(*volume, agent_root));
  for (const auto& path : left) {
    RS_CHECK(volume->remove_tree(path));
    removed.push_back(shown(path));
  }
  RS_TRY(const auto profiles, registered_profiles());
  for (const auto& sid : profiles) {
    RS_CHECK(unregister_profile(sid));
    removed.push_back("ProfileList\\" + sid);
  }
  for (const auto& path : state_files(settings)) {
    RS_CHECK(os::real_file_system().remove(path));
    removed.push_back(path);
  }
  RS_CHECK(remove_files(settings.identity_directory, removed));
  RS_CHECK(remove_files(settings.log_directory, removed));
  RS_CHECK(volume->sync());
  return removed;
}

}  // namespace roamstead::agent
