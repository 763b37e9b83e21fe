// Questions to a directory, one at a time.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/join/ldap_calls.h"

namespace roamstead::join {

struct LdapSearch {
  LDAP* connection = nullptr;
  const std::string& url;  // for messages
  std::chrono::milliseconds timeout;

  Result<std::vector<LdapEntry>> all(const std::string& base, int scope, const std::string& filter,
                                     const std::vector<std::string>& attributes) const;
  // The entry of this name; ErrorCode::not_found when there is none.
  Result<LdapEntry> one(const std::string& base, const std::vector<std::string>& attributes) const;

  // A value inside a filter (RFC 4515).
  static std::string escaped(std::string_view value);
};

// For libldap, which wants to change none of them but does not say so. Valid as long as `names` is.
std::vector<char*> ldap_names(const std::vector<std::string>& names);

}  // namespace roamstead::join
