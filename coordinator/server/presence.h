// Which desktops have a connection.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "coordinator/server/session_table.h"

namespace roamstead::server {

// Thread-safe.
class Presence {
 public:
  explicit Presence(SessionTable& sessions) : sessions_(sessions) {}

  // Each connection, once it was greeted. The table is told of every one, and says on it again what still
  // matters: the one before may be dead without anybody knowing.
  void arrive(const std::string& desktop);
  void leave(const std::string& desktop);
  bool is_here(const std::string& desktop) const;

 private:
  SessionTable& sessions_;
  mutable std::mutex mutex_;
  std::map<std::string, std::size_t> connections_;
};

}  // namespace roamstead::server
