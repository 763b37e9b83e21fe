#include "coordinator/join/ldap_search.h"

#include <cstdio>

namespace roamstead::join {

std::vector<char*> ldap_names(const std::vector<std::string>& names) {
  std::vector<char*> pointers;
  for (const auto& name : names) pointers.push_back(const_cast<char*>(name.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::string LdapSearch::escaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c != '*' && c != '(' && c != ')' && c != '\\' && c != '\0') {
      text += c;
      continue;
    }
    char code[4] = {};
    std::snprintf(code, sizeof code, "\\%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    text += code;
  }
  return text;
}

Result<std::vector<LdapEntry>> LdapSearch::all(const std::string& base, int scope, const std::string& filter,
                                               const std::vector<std::string>& attributes) const {
  auto names = ldap_names(attributes);
  auto time = ldap_time(timeout);
  LDAPMessage* chain = nullptr;
  const int code = ldap_search_ext_s(connection, base.c_str(), scope, filter.c_str(), names.data(), 0,
                                     nullptr, nullptr, &time, LDAP_NO_LIMIT, &chain);
  const LdapMessage owner(chain);
  if (code != LDAP_SUCCESS) {
    char* detail = nullptr;
    ldap_get_option(connection, LDAP_OPT_DIAGNOSTIC_MESSAGE, &detail);
    auto error = ldap_error(code, detail != nullptr ? detail : "",
                            url + ": cannot read " + (base.empty() ? "the root" : "\"" + base + "\""));
    ldap_memfree(detail);
    return fail(std::move(error));
  }
  return ldap_entries(connection, chain, attributes);
}

Result<LdapEntry> LdapSearch::one(const std::string& base, const std::vector<std::string>& attributes) const {
  RS_TRY(auto entries, all(base, LDAP_SCOPE_BASE, "(objectClass=*)", attributes));
  if (entries.empty())
    return fail(ErrorCode::not_found, url + ": cannot read \"" + base + "\": nothing there");
  return std::move(entries.front());
}

}  // namespace roamstead::join
