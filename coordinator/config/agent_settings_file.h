// What a pool's agents are set to, as administrators write it: TOML with one table (docs/provisioning.md):
//   [agent.settings]
//   FillMiBPerSecond = 20
#pragma once

#include <string>
#include <string_view>

#include "common/settings/sent_settings.h"

namespace roamstead::config {

inline constexpr std::size_t kMostSettingsFileBytes = 64u << 10;

// In the order of settings::setting_table(), by the names there. "": nothing is set.
// ErrorCode::invalid_argument: the message has a line for each problem, "SOURCE:LINE: what; what to do".
Result<settings::SentSettings> parse_agent_settings(std::string_view text, const std::string& source);

}  // namespace roamstead::config
