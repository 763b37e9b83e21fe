// What a machine must know to be a member of a domain, wherever it comes from: a blob of djoin, an account
// made over LDAP.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/guid.h"
#include "coordinator/join/secret.h"
#include "coordinator/join/sid.h"

namespace roamstead::join {

struct Domain {
  std::string dns_name;      // "corp.example.com"
  std::string netbios_name;  // "CORP"
  std::string dns_forest;    // "example.com"
  Guid guid;
  Sid sid;
};

struct Membership {
  Domain domain;
  std::string machine_name;                  // up to 15 characters, without '$'
  SecretBytes machine_password;              // UTF-16LE without an ending NUL
  std::optional<std::uint32_t> machine_rid;  // of its account, where known
};

// Refuses what no domain has: a SID that is no domain's, names too long or empty, a zero GUID.
Result<void> check_domain(const Domain& domain);
// 1 to 15 letters, digits and inner hyphens, not digits alone: a NetBIOS name that is a DNS label too.
Result<void> check_machine_name(std::string_view name);
Result<void> check_membership(const Membership& membership);

}  // namespace roamstead::join
