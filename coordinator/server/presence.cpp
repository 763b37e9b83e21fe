#include "coordinator/server/presence.h"

namespace roamstead::server {

void Presence::arrive(const std::string& desktop) {
  {
    std::lock_guard lock(mutex_);
    ++connections_[desktop];
  }
  sessions_.note_connection(desktop);
}

void Presence::leave(const std::string& desktop) {
  std::lock_guard lock(mutex_);
  auto known = connections_.find(desktop);
  if (--known->second == 0) connections_.erase(known);
}

bool Presence::is_here(const std::string& desktop) const {
  std::lock_guard lock(mutex_);
  return connections_.count(desktop) != 0;
}

}  // namespace roamstead::server
