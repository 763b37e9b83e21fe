// Which rules hold for a profile on a desktop: its pool's, then its own.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "common/profile/rules.h"
#include "coordinator/server/state_store.h"

namespace roamstead::server {

// Thread-safe. Keeps what it has compiled: a storm of log-ins asks for the same few sets.
class ProfileRules {
 public:
  explicit ProfileRules(const StateStore& store) : store_(store) {}

  Result<std::string> canonical(const std::string& desktop, const repository::ProfileId& profile);

 private:
  static constexpr std::size_t kMostKept = 64;

  const StateStore& store_;
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::string> kept_;  // by the pool's text and the profile's
};

}  // namespace roamstead::server
