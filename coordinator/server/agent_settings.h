// What a desktop's agent is to be set to: what an administrator set for its session pool (`desktop-pool
// settings`) and, where that says nothing, what the specification says that it was made from.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "common/settings/sent_settings.h"
#include "coordinator/compose/pool_store.h"
#include "coordinator/server/commands.h"

namespace roamstead::server {

// Thread-safe. Keeps what it has parsed: a morning's desktops ask for the same few texts.
class AgentSettingsOfPools {
 public:
  // `pools`: of desktops that were made here; null: there are none.
  AgentSettingsOfPools(const StateStore& store, const compose::PoolStore* pools)
      : store_(store), pools_(pools) {}

  // None, with a word in the log, where it cannot be told: the agent then keeps what it was sent last. The
  // default pool's for a desktop that is in none.
  std::optional<settings::SentSettings> of(const std::string& desktop);

 private:
  static constexpr std::size_t kMostKept = 64;
  enum class From { session_pool, specification };
  Result<settings::SentSettings> find(const std::string& desktop);
  Result<settings::SentSettings> specified(const std::string& desktop);
  Result<settings::SentSettings> parsed(From from, const std::string& pool, std::string text);

  const StateStore& store_;
  const compose::PoolStore* pools_;
  std::mutex mutex_;
  std::map<std::pair<From, std::string>, settings::SentSettings> kept_;  // by text
};

// Tells desktops that are connected what holds now; the others learn it at their next connection.
void announce_settings(const CommandContext& context, const std::vector<std::string>& desktops);

}  // namespace roamstead::server
