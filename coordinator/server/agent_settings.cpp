#include "coordinator/server/agent_settings.h"

#include <algorithm>

#include "common/base/event.h"
#include "coordinator/compose/pool_spec.h"
#include "coordinator/config/agent_settings_file.h"

namespace roamstead::server {

std::optional<settings::SentSettings> AgentSettingsOfPools::of(const std::string& desktop) {
  auto found = find(desktop);
  if (found) return std::move(*found);
  log_event(Event::settings_unread, "desktop '{}' is not told its pool's settings: {}", desktop,
            found.error().to_string());
  return std::nullopt;
}

Result<settings::SentSettings> AgentSettingsOfPools::find(const std::string& desktop) {
  RS_TRY(const auto pool, store_.pool_of(desktop));
  RS_TRY(auto text, store_.pool_agent_settings(pool.name));
  RS_TRY(auto found, parsed(From::session_pool, pool.name, std::move(text)));
  RS_TRY(const auto made, specified(desktop));
  for (const auto& each : made) {
    const auto same = [&](const settings::SentSetting& other) { return other.name == each.name; };
    if (std::none_of(found.begin(), found.end(), same)) found.push_back(each);
  }
  return found;
}

Result<settings::SentSettings> AgentSettingsOfPools::specified(const std::string& desktop) {
  if (pools_ == nullptr) return settings::SentSettings();
  const auto clone = pools_->clone(desktop);
  if (!clone && clone.error().code == ErrorCode::not_found) return settings::SentSettings();
  if (!clone) return fail(clone.error());
  RS_TRY(auto pool, pools_->pool(clone->pool));
  return parsed(From::specification, pool.name, std::move(pool.specification));
}

Result<settings::SentSettings> AgentSettingsOfPools::parsed(From from, const std::string& pool,
                                                            std::string text) {
  if (text.empty()) return settings::SentSettings();
  std::pair key(from, std::move(text));
  const std::lock_guard guard(mutex_);
  if (const auto known = kept_.find(key); known != kept_.end()) return known->second;
  settings::SentSettings settings;
  if (from == From::session_pool) {
    RS_TRY(settings, config::parse_agent_settings(key.second, "settings of pool " + pool));
  } else {
    RS_TRY(auto spec, compose::parse_made_pool_spec(key.second, "pool " + pool));
    settings = std::move(spec.agent_settings);
  }
  if (kept_.size() >= kMostKept) kept_.clear();
  return kept_.emplace(std::move(key), std::move(settings)).first->second;
}

void announce_settings(const CommandContext& context, const std::vector<std::string>& desktops) {
  static std::mutex one_after_the_other;  // or what was read before would be said after
  const std::lock_guard guard(one_after_the_other);
  AgentSettingsOfPools settings(context.store, context.pools);
  for (const auto& desktop : desktops)
    if (const auto found = settings.of(desktop)) context.sessions.announce_settings(desktop, *found);
}

}  // namespace roamstead::server
