// Who is at the other end of a Unix socket, and which role that gives.
#pragma once

#include <string>

#include "common/base/result.h"
#include "coordinator/server/caller.h"

namespace roamstead::server {

// Names of the system's groups whose members have a role; "": no group has it. root and the coordinator's own
// user are administrators always.
struct RoleGroups {
  std::string viewers;
  std::string operators;
  std::string administrators;
  bool any() const { return !viewers.empty() || !operators.empty() || !administrators.empty(); }
};

// By the credentials that the kernel noted when the peer connected. ErrorCode::denied for who has no role,
// naming the groups that have one.
Result<Caller> caller_at(int socket, const RoleGroups& groups);

// The user of this process, who has the repository open and may do everything with it.
Caller local_caller();

}  // namespace roamstead::server
