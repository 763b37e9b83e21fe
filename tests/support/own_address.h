// An address on loopback that is this process' own. A server that is stopped and started again on its port
// finds it free: on 127.0.0.1 the port could meanwhile have become that of somebody's outgoing connection.
#pragma once

#include <unistd.h>

#include <string>

namespace roamstead::support {

inline std::string own_address() {
  const auto pid = static_cast<unsigned>(::getpid());
  return "127." + std::to_string(1 + pid / 64516 % 254) + "." + std::to_string(1 + pid / 254 % 254) + "." +
         std::to_string(1 + pid % 254);
}

}  // namespace roamstead::support
