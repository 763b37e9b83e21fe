// How the rules of sessions reach desktops: implemented by the server, so that the rules know nothing of
// connections.
#pragma once

#include <string>

#include "common/wire/coordinator_link.h"

namespace roamstead::server {

// Thread-safe; calls do not block.
class DesktopPort {
 public:
  virtual ~DesktopPort() = default;
  virtual bool is_connected(const std::string& desktop) const = 0;
  // To each of its connections; lost when there is none.
  virtual void push(const std::string& desktop, const wire::Push& push) = 0;
};

}  // namespace roamstead::server
