// This machine as a golden image: what is to be removed before, and whether it is fit.
#pragma once

#include "agent/desktop/agent_settings.h"
#include "agent/desktop/image_check.h"
#include "common/base/result.h"

namespace roamstead::agent {

// What cannot be found out stays unknown.
ImageFacts find_image_facts(const AgentSettings& settings);

// Removes identity, change log, journal, staged items, profiles of closed sessions with their entries in
// ProfileList, and logs; says what. ErrorCode::busy while the agent runs, conflict while a session is open or
// something waits to be sent, unless `force`.
Result<std::vector<std::string>> generalize(const AgentSettings& settings, bool force);

}  // namespace roamstead::agent
