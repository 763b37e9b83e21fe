#include "coordinator/compose/units_logon.h"

#include "common/base/file_time.h"
#include "coordinator/compose/unit_tools.h"
#include "coordinator/join/lsa_secret.h"

namespace roamstead::compose {
namespace {

constexpr const char* kWinlogon = "Microsoft\\Windows NT\\CurrentVersion\\Winlogon";
constexpr const char* kProfileList = "Microsoft\\Windows NT\\CurrentVersion\\ProfileList";
constexpr const char* kUserShellFolders =
    "Software\\Microsoft\\Windows\\CurrentVersion\\Explorer\\User Shell Folders";

}  // namespace

Result<void> common_autologon(const UnitContext& context, Edits& edits) {
  const auto& logon = context.spec.logon;
  if (!logon) return {};
  auto& list = edits.registry;
  list.push_back(set_string(HiveId::software, kWinlogon, "AutoAdminLogon", "1"));
  list.push_back(set_string(HiveId::software, kWinlogon, "DefaultUserName", logon->user));
  if (!logon->domain.empty())
    list.push_back(set_string(HiveId::software, kWinlogon, "DefaultDomainName", logon->domain));
  // One in the clear would be taken first.
  list.push_back(delete_value(HiveId::software, kWinlogon, "DefaultPassword"));
  if (logon->count)
    list.push_back(set_number(HiveId::software, kWinlogon, "AutoLogonCount", *logon->count));
  else
    list.push_back(delete_value(HiveId::software, kWinlogon, "AutoLogonCount"));
  RS_TRY(const auto boot, join::boot_key(context.hives.hive(HiveId::system)));
  RS_TRY(const auto keys, join::lsa_keys(context.hives.hive(HiveId::security), boot));
  RS_TRY(const auto password, join::secret_utf16(as_text(logon->password)));
  RS_TRY(auto secret, join::lsa_secret_edits(keys, "DefaultPassword", password, now_100ns()));
  for (auto& edit : secret) list.push_back(std::move(edit));
  return {};
}

Result<void> own_autologon(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  if (!context.spec.logon || !context.spec.logon->domain.empty()) return {};
  add_own(edits, set_string(HiveId::software, kWinlogon, "DefaultDomainName", upper_case(clone.name)),
          kNameCapacity);
  return {};
}

Result<void> common_profiles(const UnitContext& context, Edits& edits) {
  const std::pair<const char*, const std::string&> kPlaces[] = {
      {"ProfilesDirectory", context.spec.profiles_directory},
      {"Default", context.spec.profiles.default_profile},
      {"Public", context.spec.profiles.public_profile}};
  for (const auto& [name, path] : kPlaces)
    if (!path.empty())
      edits.registry.push_back(
          set_data(HiveId::software, kProfileList, name, kExpandString, registry_string(path)));
  return {};
}

Result<void> common_shell_folders(const UnitContext& context, Edits& edits) {
  for (const auto& folder : context.spec.profiles.folders)
    edits.registry.push_back(set_data(HiveId::default_user, kUserShellFolders, folder.value, kExpandString,
                                      registry_string(folder.path)));
  return {};
}

Result<void> common_policy(const UnitContext& context, Edits& edits) {
  for (const auto& value : context.spec.policies)
    edits.registry.push_back(set_data(value.of_user ? HiveId::default_user : HiveId::software,
                                      (value.of_user ? "Software\\Policies\\" : "Policies\\") + value.key,
                                      value.name, value.type, value.data));
  return {};
}

}  // namespace roamstead::compose
