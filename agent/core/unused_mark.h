// Beside a session's journal, while nobody has used the session: it was opened ahead of a log-on that has not
// come. Such a session holds nothing to save, and may be closed by whoever finds it.
#pragma once

#include "agent/core/profile_volume.h"
#include "common/base/guid.h"

namespace roamstead::agent {

// Durable when they return. The mark goes before the first program may change anything.
Result<void> mark_unused(ProfileVolume& volume, const std::string& agent_root, const Guid& session);
Result<void> mark_used(ProfileVolume& volume, const std::string& agent_root);
// Whether the mark is this session's. What is no mark counts as none.
Result<bool> is_marked_unused(ProfileVolume& volume, const std::string& agent_root, const Guid& session);

}  // namespace roamstead::agent
