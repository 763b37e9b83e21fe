// A session's rules on its volume, beside its journal: so every snapshot says by which rules it is to be cut
// (common/extract/selection.h).
#pragma once

#include "agent/core/loader.h"
#include "agent/core/profile_volume.h"
#include "common/base/guid.h"
#include "common/profile/rules.h"

namespace roamstead::agent {

// Before the session's journal begins. "" keeps none. ErrorCode::protocol for what are no rules.
Result<void> keep_rules(ProfileVolume& volume, const std::string& agent_root, const std::string& canonical);
Result<profile::Rules> kept_rules(ProfileVolume& volume, const std::string& agent_root);
// The snapshots from here on hold what was kept for log-out; durable on return. Nothing to do without such
// rules.
Result<void> note_log_out(ProfileVolume& volume, const std::string& agent_root, const Guid& session,
                          const profile::Rules& rules);
// Of a session that is over.
Result<void> forget_rules(ProfileVolume& volume, const std::string& agent_root);

// What rules keep local, where their patterns name it without wildcards: put aside when a session's profile
// goes, and brought back to the next session of the same profile on this desktop, unless something is there
// already. Renames only: what a crash comes between is at the one place or at the other.
Result<void> put_local_aside(ProfileVolume& volume, const std::string& agent_root, const std::string& profile,
                             const std::string& profile_root, const profile::Rules& rules);
Result<void> bring_local_back(Loader& loader, ProfileVolume& volume, const std::string& agent_root,
                              const std::string& profile, const std::string& profile_root,
                              const profile::Rules& rules);

}  // namespace roamstead::agent
