#include "coordinator/server/agent_settings.h"

#include "common/base/log.h"
#include "coordinator/config/agent_settings_file.h"

namespace roamstead::server {

std::optional<settings::SentSettings> AgentSettingsOfPools::of(const std::string& desktop) {
  auto found = find(desktop);
  if (found) return std::move(*found);
  log_warning("desktop '{}' is not told its pool's settings: {}", desktop, found.error().to_string());
  return std::nullopt;
}

Result<settings::SentSettings> AgentSettingsOfPools::find(const std::string& desktop) {
  RS_TRY(const auto pool, store_.pool_of(desktop));
  RS_TRY(auto text, store_.pool_agent_settings(pool.name));
  if (text.empty()) return settings::SentSettings();
  const std::lock_guard guard(mutex_);
  if (const auto known = kept_.find(text); known != kept_.end()) return known->second;
  RS_TRY(auto settings, config::parse_agent_settings(text, "settings of pool " + pool.name));
  if (kept_.size() >= kMostKept) kept_.clear();
  return kept_.emplace(std::move(text), std::move(settings)).first->second;
}

void announce_settings(const StateStore& store, SessionTable& sessions,
                       const std::vector<std::string>& desktops) {
  static std::mutex one_after_the_other;  // or what was read before would be said after
  const std::lock_guard guard(one_after_the_other);
  AgentSettingsOfPools settings(store);
  for (const auto& desktop : desktops)
    if (const auto found = settings.of(desktop)) sessions.announce_settings(desktop, *found);
}

}  // namespace roamstead::server
