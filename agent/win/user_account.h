// A user as Windows knows it.
#pragma once

#include <string>

#include "common/base/bytes.h"

namespace roamstead::agent {

struct UserAccount {
  std::string given;   // as it was asked for
  std::string name;    // without the domain; where there is no such account: as it was given
  std::string domain;  // "" where it is not known
  std::string sid;     // "S-1-5-…"; "" where there is no such account
  Bytes sid_bytes;
};

// "S-1-5-21-…", "alice", "DOMAIN\alice" or "alice@domain". A name without an account is not an error: its
// profile can be prepared, not registered. ErrorCode::invalid_argument for what is neither.
Result<UserAccount> find_user(const std::string& text);

}  // namespace roamstead::agent
