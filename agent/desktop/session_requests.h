// What a desktop's session is asked for and tells over the control connection (control_lines.h).
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "agent/core/session.h"

namespace roamstead::agent {

nlohmann::json describe(const SessionStatus& status);
nlohmann::json describe(const FillProgress& fill);
nlohmann::json describe(const RegistryProgress& registry);
nlohmann::json describe(const LogoutReport& report);

// {"timeout_seconds": 600}
std::chrono::milliseconds patience_of(const nlohmann::json& request);

// {"wait": false}: waits until it is committed.
Result<nlohmann::json> take_snapshot(Session& session, const nlohmann::json& request);
// {"level": "all", "wait": false}
Result<nlohmann::json> fill_profile(Session& session, const nlohmann::json& request);
// {"hive": "NTUSER.DAT", "key": "Software"}
Result<nlohmann::json> load_registry_key(Session& session, const nlohmann::json& request);

}  // namespace roamstead::agent
