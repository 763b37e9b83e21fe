#include "coordinator/compose/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "common/base/host_port.h"
#include "common/base/text.h"
#include "coordinator/compose/data_disk.h"
#include "coordinator/compose/first_boot.h"
#include "coordinator/compose/unit_tools.h"
#include "coordinator/compose/units_join.h"
#include "coordinator/compose/units_logon.h"
#include "coordinator/compose/units_network.h"

namespace roamstead::compose {
namespace {

constexpr auto kBinary = static_cast<std::uint32_t>(registry::ValueType::binary);
constexpr std::uint32_t kGuidCapacity = 74;  // 36 characters and the NUL
constexpr std::uint32_t kFileCapacity = 4096;
constexpr const char* kIdentityFolder = "ProgramData/Roamstead/identity/";

Result<void> own_computer_name(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  add_own(edits,
          set_string(HiveId::system, in_control_set(context, "Control\\ComputerName\\ComputerName"),
                     "ComputerName", upper_case(clone.name)),
          kNameCapacity);
  // "NV" is what the next start takes, the other what is in force.
  for (const char* value : {"Hostname", "NV Hostname"})
    add_own(edits, set_string(HiveId::system, tcpip(context), value, clone.name), kNameCapacity);
  return {};
}

// By which programs, and DPAPI, tell machines apart; sysprep makes it anew too.
Result<void> own_machine_guid(const UnitContext&, const CloneFacts& clone, OwnEdits& edits) {
  add_own(
      edits,
      set_string(HiveId::software, "Microsoft\\Cryptography", "MachineGuid", clone.machine_guid.to_string()),
      kGuidCapacity);
  return {};
}

constexpr const char* kHardwareProfile = "Control\\IDConfigDB\\Hardware Profiles\\0001";

// The hardware profile's, by which licences tell machines apart. Windows keeps it from its setup on.
Result<void> own_hardware_id(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  const auto key = in_control_set(context, kHardwareProfile);
  if (context.hives.text(HiveId::system, key, "HwProfileGuid").empty()) return {};
  constexpr std::uint32_t kBracedGuidCapacity = kGuidCapacity + 4;
  add_own(edits,
          set_string(HiveId::system, key, "HwProfileGuid", "{" + clone.hardware_guid.to_string() + "}"),
          kBracedGuidCapacity);
  return {};
}

// Made anew by Windows, or by the service in question, when they are missing: the Windows Update agent's
// towards WSUS, telemetry's, Defender for Endpoint's, the DHCPv6 client's.
Result<void> common_machine_ids(const UnitContext& context, Edits& edits) {
  for (const char* value : {"SusClientId", "SusClientIdValidation", "PingID", "AccountDomainSid"})
    edits.registry.push_back(
        delete_value(HiveId::software, "Microsoft\\Windows\\CurrentVersion\\WindowsUpdate", value));
  edits.registry.push_back(delete_value(HiveId::software, "Microsoft\\SQMClient", "MachineId"));
  edits.registry.push_back(
      delete_value(HiveId::software, "Microsoft\\Windows Advanced Threat Protection", "senseGuid"));
  edits.registry.push_back(
      delete_value(HiveId::system, in_control_set(context, "Services\\Tcpip6\\Parameters"), "Dhcpv6DUID"));
  return {};
}

// The zone's rules lie in SOFTWARE; what is in force is a copy of them.
Result<void> common_time_zone(const UnitContext& context, Edits& edits) {
  const auto& zone = context.spec.time_zone;
  if (zone.empty()) return {};
  const auto source = "Microsoft\\Windows NT\\CurrentVersion\\Time Zones\\" + zone;
  const auto rules = context.hives.data(HiveId::software, source, "TZI");
  constexpr std::size_t kRulesBytes = 44;  // REG_TZI_FORMAT: three biases, two SYSTEMTIME
  if (!rules || rules->size() != kRulesBytes)
    return fail(ErrorCode::not_found,
                "this Windows knows no time zone '" + zone +
                    "'; names are those of 'tzutil /l', such as \"W. Europe Standard Time\"");
  const auto key = in_control_set(context, "Control\\TimeZoneInformation");
  const auto number = [&](std::size_t offset) { return load_le<std::uint32_t>(*rules, offset); };
  const auto part = [&](std::size_t offset, std::size_t bytes) {
    const auto view = ByteView(*rules).subspan(offset, bytes);
    return Bytes(view.begin(), view.end());
  };
  auto& list = edits.registry;
  list.push_back(set_string(HiveId::system, key, "TimeZoneKeyName", zone));
  list.push_back(set_number(HiveId::system, key, "Bias", number(0)));
  list.push_back(set_number(HiveId::system, key, "StandardBias", number(4)));
  list.push_back(set_number(HiveId::system, key, "DaylightBias", number(8)));
  list.push_back(set_number(HiveId::system, key, "ActiveTimeBias", number(0) + number(4)));
  list.push_back(set_data(HiveId::system, key, "StandardStart", kBinary, part(12, 16)));
  list.push_back(set_data(HiveId::system, key, "DaylightStart", kBinary, part(28, 16)));
  list.push_back(set_number(HiveId::system, key, "DynamicDaylightTimeDisabled", 0));
  for (const auto& [from, to] : {std::pair("MUI_Std", "StandardName"), std::pair("MUI_Dlt", "DaylightName")})
    if (const auto name = context.hives.text(HiveId::software, source, from); !name.empty())
      list.push_back(set_string(HiveId::system, key, to, name));
  return {};
}

// A clone that was hibernated, or shut down "fast", cannot be refreshed or extracted: its volume is not
// closed.
Result<void> common_hibernation(const UnitContext& context, Edits& edits) {
  if (context.spec.hibernation) return {};
  edits.registry.push_back(
      set_number(HiveId::system, in_control_set(context, "Control\\Power"), "HibernateEnabled", 0));
  edits.registry.push_back(set_number(
      HiveId::system, in_control_set(context, "Control\\Session Manager\\Power"), "HiberbootEnabled", 0));
  return {};
}

// A desktop that is set back to its reference snapshot has the password of then.
Result<void> common_machine_password(const UnitContext& context, Edits& edits) {
  if (context.spec.machine_password_change) return {};
  edits.registry.push_back(set_number(
      HiveId::system, in_control_set(context, "Services\\Netlogon\\Parameters"), "DisablePasswordChange", 1));
  return {};
}

// Servers leave disks they see for the first time offline.
Result<void> common_new_disks(const UnitContext& context, Edits& edits) {
  edits.registry.push_back(set_number(HiveId::system,
                                      in_control_set(context, "Services\\partmgr\\Parameters"), "SanPolicy",
                                      static_cast<std::uint32_t>(context.spec.san_policy)));
  return {};
}

Result<void> common_kms(const UnitContext& context, Edits& edits) {
  if (context.spec.kms_host.empty()) return {};
  const auto parts = parse_host_port(context.spec.kms_host);
  const std::string key = "Microsoft\\Windows NT\\CurrentVersion\\SoftwareProtectionPlatform";
  edits.registry.push_back(set_string(HiveId::software, key, "KeyManagementServiceName",
                                      parts ? parts->host : context.spec.kms_host));
  if (parts)
    edits.registry.push_back(
        set_string(HiveId::software, key, "KeyManagementServicePort", std::to_string(parts->port)));
  return {};
}

Result<void> common_services(const UnitContext& context, Edits& edits) {
  for (const auto& setting : context.spec.services) {
    const auto key = in_control_set(context, "Services\\" + setting.service);
    if (!context.hives.number(HiveId::system, key, "Start"))
      return fail(ErrorCode::not_found, "the image has no service '" + setting.service + "'");
    edits.registry.push_back(
        set_number(HiveId::system, key, "Start", static_cast<std::uint32_t>(setting.start)));
  }
  return {};
}

Result<void> common_registry(const UnitContext& context, Edits& edits) {
  for (const auto& change : context.spec.registry) {
    RS_TRY(auto place, place_in_hives(change.key, context.image.control_set));
    auto edit = set_data(place.first, std::move(place.second), change.value_name, change.type, change.data);
    using Kind = registry::RegChange::Kind;
    using Action = RegistryEdit::Action;
    edit.action = change.kind == Kind::create_key   ? Action::create_key
                  : change.kind == Kind::delete_key ? Action::delete_key
                  : change.kind == Kind::set_value  ? Action::set_value
                                                    : Action::delete_value;
    if (edit.key.empty() && edit.action == Action::delete_key)
      return fail(ErrorCode::invalid_argument, "'" + change.key + "' is a whole hive, and cannot be deleted");
    edits.registry.push_back(std::move(edit));
  }
  return {};
}

Result<void> common_files(const UnitContext& context, Edits& edits) {
  for (const auto& file : context.spec.files) edits.files.push_back({file.path, file.content, false, ""});
  return {};
}

Result<void> common_identity(const UnitContext& context, Edits& edits) {
  const auto pem = as_bytes(context.ca_pem);
  edits.files.push_back({std::string(kIdentityFolder) + "ca.pem", Bytes(pem.begin(), pem.end()), true, ""});
  return {};
}

void add_identity(const CloneFacts& clone, OwnEdits& edits) {
  const auto add = [&](const char* name, const std::string& content) {
    const auto bytes = as_bytes(content);
    edits.files.push_back(
        {{kIdentityFolder + std::string(name), Bytes(bytes.begin(), bytes.end()), true, ""}, kFileCapacity});
  };
  add("desktop.json", clone.desktop_json);
  add("identity.pem", clone.identity_pem);
}

Result<void> own_identity(const UnitContext&, const CloneFacts& clone, OwnEdits& edits) {
  add_identity(clone, edits);
  return {};
}

constexpr Unit kUnits[] = {
    {"computer-name", "the computer's and the host's name", nullptr, own_computer_name},
    {"dns-suffix", "the primary DNS suffix", common_dns, nullptr},
    {"network", "static addresses and DNS servers of the network adapter", common_network, own_network},
    {"network-v6", "static IPv6 address (at the first start) and DNS servers", common_network6, own_network6},
    {"hardware-id", "HwProfileGuid, by which licences tell machines apart", nullptr, own_hardware_id},
    {"machine-guid", "MachineGuid, by which programs tell machines apart", nullptr, own_machine_guid},
    {"machine-ids", "ids that are made anew: Windows Update, telemetry, Defender, DHCPv6", common_machine_ids,
     nullptr},
    {"time-zone", "the time zone", common_time_zone, nullptr},
    {"no-hibernation", "hibernation and fast startup off", common_hibernation, nullptr},
    {"machine-password", "the machine's password is not changed by the desktop", common_machine_password,
     nullptr},
    {"user-disk", "the drive letter of the user data disk", nullptr, own_user_disk},
    {"new-disks", "whether disks seen for the first time come online", common_new_disks, nullptr},
    {"kms", "where Windows is activated", common_kms, nullptr},
    {"profiles", "where profiles are made, and from what", common_profiles, nullptr},
    {"shell-folders", "where the folders of new profiles lie", common_shell_folders, nullptr},
    {"domain-join", "membership of a domain: finished, or as a blob for the first start", common_join,
     own_join},
    {"answer-file", "what Setup of a generalised image would ask", common_answer_file, own_answer_file},
    {"autologon", "who is logged on without being asked", common_autologon, own_autologon},
    {"policy", "values as Group Policy sets them", common_policy, nullptr},
    {"services", "how services start", common_services, nullptr},
    {"registry", "the administrator's own registry edits", common_registry, nullptr},
    {"files", "the administrator's own files", common_files, nullptr},
    {"first-boot", "what runs once before anybody logs on", common_first_boot, nullptr},
    {"first-boot-program", "the program that runs it, and its service, where the image has no agent",
     common_first_boot_program, nullptr},
    {"identity", "key and certificate towards the coordinator", common_identity, own_identity},
};

}  // namespace

std::span<const Unit> units() { return kUnits; }

OwnEdits identity_edits(const CloneFacts& clone) {
  OwnEdits edits;
  add_identity(clone, edits);
  return edits;
}

Result<Edits> common_edits(const UnitContext& context) {
  Edits all;
  for (const auto& unit : kUnits) {
    if (unit.common == nullptr) continue;
    Edits edits;
    RS_CHECK_CTX(unit.name, unit.common(context, edits));
    for (auto& edit : edits.registry) edit.unit = unit.name;
    for (auto& edit : edits.files) edit.unit = unit.name;
    all.append(std::move(edits));
  }
  return all;
}

Result<OwnEdits> own_edits(const UnitContext& context, const CloneFacts& clone) {
  OwnEdits all;
  for (const auto& unit : kUnits) {
    if (unit.own == nullptr) continue;
    OwnEdits edits;
    RS_CHECK_CTX(unit.name, unit.own(context, clone, edits));
    for (auto& value : edits.values) {
      value.edit.unit = unit.name;
      if (value.edit.data.size() > value.capacity_bytes)
        return fail(ErrorCode::internal, fmt::format("{}: {} bytes for a value with room for {}", unit.name,
                                                     value.edit.data.size(), value.capacity_bytes));
      // Where two units set one value they mean the same; what the later one says counts.
      const auto same = std::find_if(all.values.begin(), all.values.end(), [&](const OwnValue& other) {
        return other.edit.hive == value.edit.hive && other.edit.key == value.edit.key &&
               other.edit.name == value.edit.name;
      });
      if (same == all.values.end())
        all.values.push_back(std::move(value));
      else
        *same = std::move(value);
    }
    for (auto& file : edits.files) {
      file.edit.unit = unit.name;
      if (file.edit.content.size() > file.capacity_bytes)
        return fail(ErrorCode::internal, fmt::format("{}: {} bytes for a file with room for {}", unit.name,
                                                     file.edit.content.size(), file.capacity_bytes));
      all.files.push_back(std::move(file));
    }
  }
  return all;
}

}  // namespace roamstead::compose
