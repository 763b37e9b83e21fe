// How much a profile may hold: its own quota, or that of the pool of the desktop it is saved from.
#pragma once

#include "coordinator/server/state_store.h"

namespace roamstead::server {

struct Quota {
  std::uint64_t bytes = 0;  // 0: no limit
  std::string from;         // "profile", "pool default"; "": nothing limits it
};

// A state store that cannot be read limits nothing: nobody's work is refused for that.
Quota quota_for(const StateStore& store, const std::string& desktop, const repository::ProfileId& profile);

}  // namespace roamstead::server
