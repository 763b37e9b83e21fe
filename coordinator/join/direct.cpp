#include "coordinator/join/direct.h"

#include <utility>

#include "common/base/text.h"
#include "coordinator/join/lsa_secret.h"
#include "coordinator/join/sam.h"

namespace roamstead::join {
namespace {

using compose::HiveId;
using compose::RegistryEdit;
using registry::ValueType;

constexpr std::string_view kSecret = "Policy\\Secrets\\$MACHINE.ACC";
constexpr std::uint32_t kNone = static_cast<std::uint32_t>(ValueType::none);
constexpr std::size_t kMaxMachineName = 15;
constexpr std::uint32_t kStartAutomatic = 2;

RegistryEdit policy(std::string_view name, Bytes data) {
  return compose::set_data(HiveId::security, "Policy\\" + std::string(name), "", kNone, std::move(data));
}
RegistryEdit secret_part(std::string_view name, Bytes data) {
  return compose::set_data(HiveId::security, std::string(kSecret) + "\\" + std::string(name), "", kNone,
                           std::move(data));
}

std::size_t policy_string_bytes(std::size_t units) { return 8 + 2 * units + 2; }

// Lengths in bytes without and with the ending NUL, the text's place, the text.
Result<Bytes> policy_string(std::string_view text) {
  RS_TRY(const auto units, to_utf16(text));
  if (units.size() > 0x7ff0)
    return fail(ErrorCode::invalid_argument, "a name of " + std::to_string(units.size()) + " characters");
  Bytes bytes(policy_string_bytes(units.size()));
  const auto length = static_cast<std::uint16_t>(2 * units.size());
  store_le<std::uint16_t>(bytes, 0, length);
  store_le<std::uint16_t>(bytes, 2, static_cast<std::uint16_t>(length + 2));
  store_le<std::uint32_t>(bytes, 4, 8);
  std::memcpy(bytes.data() + 8, units.data(), length);
  return bytes;
}

Bytes time_bytes(std::uint64_t time_100ns) {
  Bytes bytes(8);
  store_le<std::uint64_t>(bytes, 0, time_100ns);
  return bytes;
}

std::string upper_case(std::string text) {
  for (auto& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

OwnEdit fixed(RegistryEdit edit) {
  const auto bytes = static_cast<std::uint32_t>(edit.data.size());
  return {std::move(edit), bytes};
}
OwnEdit named(RegistryEdit edit, std::size_t capacity) {
  return {std::move(edit), static_cast<std::uint32_t>(capacity)};
}

}  // namespace

Result<DirectJoin> DirectJoin::open(const registry::Hive& system, const registry::Hive& security,
                                    const registry::Hive& sam) {
  DirectJoin join;
  RS_TRY(join.control_set_, join::control_set(system));
  RS_TRY(const auto boot, boot_key(system));
  RS_TRY(join.keys_, lsa_keys(security, boot));
  RS_TRY_CTX(const auto policy_key, "hive " + security.name(), security.find("Policy"));
  RS_TRY_CTX(const auto account, "hive " + security.name(),
             security.find_subkey(policy_key, u"PolMachineAccountS"));
  join.has_machine_account_ = account.has_value();
  // What secrets the image has must open, or ours would be the only ones that do.
  RS_TRY_CTX(const auto secrets, "hive " + security.name(), security.find("Policy\\Secrets"));
  std::vector<std::uint32_t> cells;
  RS_CHECK_CTX("hive " + security.name() + ", key Policy\\Secrets", security.subkeys(secrets, cells));
  for (const auto cell : cells) {
    RS_TRY(const auto key, security.key(cell));
    const auto where =
        "hive " + security.name() + ", key Policy\\Secrets\\" + key.name.to_wtf8() + "\\CurrVal";
    RS_TRY_CTX(const auto current, where, security.find_subkey(key, u"CurrVal"));
    if (!current) continue;
    RS_TRY_CTX(const auto value, where, security.find_value(*current, u""));
    Bytes scratch;
    if (!value || value->data_bytes == 0) continue;
    RS_TRY_CTX(const auto data, where, security.data(*value, scratch));
    RS_CHECK_CTX(where, unseal_secret(join.keys_, data));
  }
  RS_CHECK(alias_members(sam, kAdministratorsAlias));
  return join;
}

Result<std::vector<RegistryEdit>> DirectJoin::common(const registry::Hive& sam, const Domain& domain,
                                                     const DirectOptions& options) const {
  RS_CHECK(check_domain(domain));
  std::vector<RegistryEdit> edits;
  RS_TRY(auto primary, policy_string(domain.netbios_name));
  RS_TRY(auto dns, policy_string(domain.dns_name));
  RS_TRY(auto forest, policy_string(domain.dns_forest));
  edits.push_back(policy("PolPrDmN", std::move(primary)));
  edits.push_back(policy("PolPrDmS", domain.sid.to_bytes()));
  edits.push_back(policy("PolDnDDN", std::move(dns)));
  edits.push_back(policy("PolDnTrN", std::move(forest)));
  edits.push_back(policy("PolDnDmG", to_bytes(domain.guid.bytes)));
  edits.push_back(compose::set_data(HiveId::security, std::string(kSecret), "", kLsaSecretObject, {}));
  edits.push_back(secret_part("SecDesc", lsa_secret_descriptor()));

  const auto services = control_set_ + "\\Services\\";
  edits.push_back(
      compose::set_string(HiveId::system, services + "Tcpip\\Parameters", "Domain", domain.dns_name));
  edits.push_back(
      compose::set_string(HiveId::system, services + "Tcpip\\Parameters", "NV Domain", domain.dns_name));
  edits.push_back(
      compose::set_number(HiveId::system, services + "Tcpip\\Parameters", "SyncDomainWithMembership", 1));
  edits.push_back(compose::set_number(HiveId::system, services + "Netlogon", "Start", kStartAutomatic));
  edits.push_back(compose::set_number(HiveId::system, services + "Netlogon\\Parameters",
                                      "DisablePasswordChange", options.keep_password ? 1 : 0));
  edits.push_back(compose::set_number(HiveId::system, services + "W32Time", "Start", kStartAutomatic));
  edits.push_back(compose::set_string(HiveId::system, services + "W32Time\\Parameters", "Type", "NT5DS"));

  const std::string winlogon = "Microsoft\\Windows NT\\CurrentVersion\\Winlogon";
  for (const auto* name : {"DefaultDomainName", "CachePrimaryDomain"})
    edits.push_back(compose::set_string(HiveId::software, winlogon, name, domain.netbios_name));
  for (auto& edit : edits) edit.unit = "domain-join";

  const AliasMember groups[] = {{kAdministratorsAlias, domain.sid.child(kDomainAdminsRid)},
                                {kUsersAlias, domain.sid.child(kDomainUsersRid)}};
  RS_TRY(auto members, alias_member_edits(sam, groups));
  std::move(members.begin(), members.end(), std::back_inserter(edits));
  return edits;
}

Result<std::vector<OwnEdit>> DirectJoin::own(const Membership& membership, std::uint64_t now_100ns) const {
  RS_CHECK(check_membership(membership));
  const auto name = upper_case(membership.machine_name);
  std::vector<OwnEdit> own;
  // The password before is the same one: nobody knew an earlier.
  RS_TRY(auto current, seal_secret(keys_, membership.machine_password));
  RS_TRY(auto old, seal_secret(keys_, membership.machine_password));
  // Accounts that others made have passwords of other lengths.
  const auto room = sealed_bytes(keys_.form, kMachinePasswordCharacters * sizeof(char16_t));
  if (current.size() > room)
    return fail(ErrorCode::invalid_argument, membership.machine_name + ": a password of more than " +
                                                 std::to_string(kMachinePasswordCharacters) + " characters");
  own.push_back(named(secret_part("CurrVal", std::move(current)), room));
  own.back().edit.secret = true;
  own.push_back(named(secret_part("OldVal", std::move(old)), room));
  own.back().edit.secret = true;
  own.push_back(fixed(secret_part("CupdTime", time_bytes(now_100ns))));
  own.push_back(fixed(secret_part("OupdTime", time_bytes(now_100ns))));
  RS_TRY(auto account_domain, policy_string(name));
  own.push_back(named(policy("PolAcDmN", std::move(account_domain)), policy_string_bytes(kMaxMachineName)));
  if (has_machine_account_) {
    // Empty, as in a workgroup, where the account's number is not known: LSA asks the domain then.
    Bytes rid, sid;
    if (membership.machine_rid) {
      rid.resize(4);
      store_le<std::uint32_t>(rid, 0, *membership.machine_rid);
      sid = membership.domain.sid.child(*membership.machine_rid).to_bytes();
    }
    own.push_back(named(policy("PolMachineAccountR", std::move(rid)), 4));
    own.push_back(named(policy("PolMachineAccountS", std::move(sid)), 28));
  }
  constexpr std::size_t kNameBytes = 2 * (kMaxMachineName + 1);
  own.push_back(
      named(compose::set_string(HiveId::system, control_set_ + "\\Control\\ComputerName\\ComputerName",
                                "ComputerName", name),
            kNameBytes));
  for (const auto* value : {"Hostname", "NV Hostname"})
    own.push_back(named(compose::set_string(HiveId::system, control_set_ + "\\Services\\Tcpip\\Parameters",
                                            value, membership.machine_name),
                        kNameBytes));
  for (auto& edit : own) edit.edit.unit = "domain-join";
  return own;
}

Result<std::vector<RegistryEdit>> direct_join_edits(const registry::Hive& system,
                                                    const registry::Hive& security, const registry::Hive& sam,
                                                    const Membership& membership, std::uint64_t now_100ns,
                                                    const DirectOptions& options) {
  RS_TRY(const auto join, DirectJoin::open(system, security, sam));
  RS_TRY(auto edits, join.common(sam, membership.domain, options));
  RS_TRY(auto own, join.own(membership, now_100ns));
  for (auto& edit : own) edits.push_back(std::move(edit.edit));
  return edits;
}

Result<SecretBytes> machine_password(const registry::Hive& system, const registry::Hive& security) {
  RS_TRY(const auto boot, boot_key(system));
  RS_TRY(const auto keys, lsa_keys(security, boot));
  const auto path = std::string(kSecret) + "\\CurrVal";
  const auto where = "hive " + security.name() + ", key " + path;
  RS_TRY_CTX(const auto key, where, security.find(path));
  RS_TRY_CTX(const auto value, where, security.find_value(key, u""));
  if (!value) return fail(ErrorCode::not_found, where + ": has no default value");
  Bytes scratch;
  RS_TRY_CTX(const auto data, where, security.data(*value, scratch));
  RS_TRY_CTX(auto password, where, unseal_secret(keys, data));
  return password;
}

}  // namespace roamstead::join
