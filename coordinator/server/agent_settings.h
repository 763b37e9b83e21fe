// What a desktop's agent is to be set to: what an administrator wrote for its pool.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "common/settings/sent_settings.h"
#include "coordinator/server/session_table.h"
#include "coordinator/server/state_store.h"

namespace roamstead::server {

// Thread-safe. Keeps what it has parsed: a morning's desktops ask for the same few texts.
class AgentSettingsOfPools {
 public:
  explicit AgentSettingsOfPools(const StateStore& store) : store_(store) {}

  // None, with a word in the log, where it cannot be told: the agent then keeps what it was sent last. The
  // default pool's for a desktop that is in none.
  std::optional<settings::SentSettings> of(const std::string& desktop);

 private:
  static constexpr std::size_t kMostKept = 64;
  Result<settings::SentSettings> find(const std::string& desktop);

  const StateStore& store_;
  std::mutex mutex_;
  std::map<std::string, settings::SentSettings> kept_;  // by text
};

// Tells desktops that are connected what holds now; the others learn it at their next connection.
void announce_settings(const StateStore& store, SessionTable& sessions,
                       const std::vector<std::string>& desktops);

}  // namespace roamstead::server
