// Where a server learns what a desktop's agent is to be set to (agent_settings.h in a coordinator).
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "common/settings/sent_settings.h"

namespace roamstead::server {

using SettingsSource = std::function<std::optional<settings::SentSettings>(const std::string& desktop)>;

}  // namespace roamstead::server
