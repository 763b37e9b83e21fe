// What a coordinator's settings mean for a simulated desktop: the command line wins, as group policy does on
// Windows; those that have no option here are shown and mean nothing.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>

#include "common/settings/sent_settings.h"

namespace roamstead::agent {

struct DesktopConfig;

// Names of settings that the command line says (common/settings/setting_table.h).
using GivenSettings = std::set<std::string, std::less<>>;

// Sets what the command line does not say to what was sent, or to what it is in `before`, the configuration
// before anything was. What no coordinator may send is left out, with a word in the log.
void take_settings(DesktopConfig& config, const DesktopConfig& before, const settings::SentSettings& sent);
// {"FillMiBPerSecond": {"value", "source"}}: those that have a meaning here.
nlohmann::json describe_settings(const DesktopConfig& config, const settings::SentSettings& sent);

}  // namespace roamstead::agent
