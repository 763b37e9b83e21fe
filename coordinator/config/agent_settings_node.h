// One setting of agents as TOML has it, for the files that have some: agent_settings_file.h, and the
// specification of a pool (coordinator/compose/pool_spec.h).
#pragma once

#include "common/settings/sent_settings.h"
#include "coordinator/config/toml.h"

namespace roamstead::config {

// By the table's name. ErrorCode::invalid_argument: the message says what is wrong with which setting and
// what to do, not where it stands.
Result<settings::SentSetting> read_agent_setting(const std::string& name, const toml::node& value);

}  // namespace roamstead::config
