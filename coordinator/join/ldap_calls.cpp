#include "coordinator/join/ldap_calls.h"

#include <algorithm>

namespace roamstead::join {
namespace {

struct Meaning {
  int ldap_code;
  ErrorCode code;
  std::string_view advice;
};

constexpr Meaning kMeanings[] = {
    {LDAP_SERVER_DOWN, ErrorCode::unavailable,
     "check the controller's name, its firewall and, with TLS, that its certificate is signed by an "
     "authority "
     "of the CA file and names this host"},
    {LDAP_CONNECT_ERROR, ErrorCode::unavailable,
     "check that the controller's certificate is signed by an authority of the CA file and names this host"},
    {LDAP_TIMEOUT, ErrorCode::timeout, "the controller did not answer in time"},
    {LDAP_TIMELIMIT_EXCEEDED, ErrorCode::timeout, "the controller did not answer in time"},
    {LDAP_BUSY, ErrorCode::busy, "try again later"},
    {LDAP_UNAVAILABLE, ErrorCode::unavailable, "try again later, or another controller"},
    {LDAP_INVALID_CREDENTIALS, ErrorCode::denied, "check the account's name and password"},
    {LDAP_LOCAL_ERROR, ErrorCode::denied,
     "for Kerberos there must be a ticket (kinit) or a client keytab (KRB5_CLIENT_KTNAME)"},
    {LDAP_INSUFFICIENT_ACCESS, ErrorCode::denied,
     "delegate to this account: create and delete computer objects, reset password, write validated host "
     "names "
     "and service principal names"},
    {LDAP_STRONG_AUTH_REQUIRED, ErrorCode::denied, "the controller wants a signed or encrypted connection"},
    {LDAP_NO_SUCH_OBJECT, ErrorCode::not_found, "there is no such place in the directory"},
    {LDAP_ALREADY_EXISTS, ErrorCode::exists, "remove that account, or let existing accounts be reused"},
    {LDAP_UNWILLING_TO_PERFORM, ErrorCode::denied,
     "the controller refuses the password or the change; passwords need an encrypted connection"},
    {LDAP_CONSTRAINT_VIOLATION, ErrorCode::conflict,
     "the domain's policy forbids it: the password's rules, or the number of accounts one may make"},
    {LDAP_INVALID_DN_SYNTAX, ErrorCode::invalid_argument, "that is no distinguished name"},
};

}  // namespace

std::string LdapEntry::text(const std::string& attribute) const {
  return std::string(as_text(bytes(attribute)));
}

ByteView LdapEntry::bytes(const std::string& attribute) const {
  const auto found = attributes.find(attribute);
  if (found == attributes.end() || found->second.empty()) return {};
  return found->second.front();
}

std::vector<LdapEntry> ldap_entries(LDAP* connection, LDAPMessage* chain,
                                    const std::vector<std::string>& attributes) {
  std::vector<LdapEntry> entries;
  for (auto* message = ldap_first_entry(connection, chain); message != nullptr;
       message = ldap_next_entry(connection, message)) {
    LdapEntry entry;
    if (char* name = ldap_get_dn(connection, message); name != nullptr) {
      entry.distinguished_name = name;
      ldap_memfree(name);
    }
    for (const auto& attribute : attributes) {
      auto** values = ldap_get_values_len(connection, message, attribute.c_str());
      if (values == nullptr) continue;
      for (auto** value = values; *value != nullptr; ++value)
        entry.attributes[attribute].push_back(to_bytes(std::string_view((*value)->bv_val, (*value)->bv_len)));
      ldap_value_free_len(values);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

void LdapAttributes::add(int operation, const char* name, const std::vector<std::string>& values) {
  auto one = std::make_unique<One>();
  one->name = name;
  for (const auto& value : values) one->values.push_back(to_secret(as_bytes(value)));
  one->modification.mod_op = operation | LDAP_MOD_BVALUES;
  attributes_.push_back(std::move(one));
}

void LdapAttributes::add_secret(int operation, const char* name, SecretBytes value) {
  add(operation, name, {});
  attributes_.back()->values.push_back(std::move(value));
}

LDAPMod** LdapAttributes::list() {
  pointers_.clear();
  for (const auto& one : attributes_) {
    one->views.clear();
    one->pointers.clear();
    for (auto& value : one->values)
      one->views.push_back({value.size(), reinterpret_cast<char*>(value.data())});
    for (auto& view : one->views) one->pointers.push_back(&view);
    one->pointers.push_back(nullptr);
    one->modification.mod_type = one->name.data();
    one->modification.mod_vals.modv_bvals = one->pointers.data();
    pointers_.push_back(&one->modification);
  }
  pointers_.push_back(nullptr);
  return pointers_.data();
}

timeval ldap_time(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  return {static_cast<time_t>(seconds.count()), static_cast<suseconds_t>((time - seconds).count() * 1000)};
}

Error ldap_error(int code, std::string_view detail, const std::string& what) {
  auto text = what + ": " + ldap_err2string(code);
  while (!detail.empty() && (detail.back() == '\n' || detail.back() == '\0')) detail.remove_suffix(1);
  if (!detail.empty()) text += " (" + std::string(detail.substr(0, 300)) + ")";
  const auto* meaning = std::find_if(std::begin(kMeanings), std::end(kMeanings),
                                     [&](const Meaning& one) { return one.ldap_code == code; });
  if (meaning == std::end(kMeanings)) return Error(ErrorCode::protocol, std::move(text));
  return Error(meaning->code, text + "; " + std::string(meaning->advice));
}

}  // namespace roamstead::join
