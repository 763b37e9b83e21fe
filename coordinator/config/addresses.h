// Addresses and names as configuration and `roamstead setup` take them.
#pragma once

#include <string>

#include "common/base/result.h"

namespace roamstead::config {

// "127.0.0.1:7420" or "[::1]:7420": a numeric address and a port.
Result<void> check_listen_address(const std::string& text);
// "host:port", the host by name or by address; or nothing.
Result<void> check_public_address(const std::string& text);
// A DNS name or a numeric address.
Result<void> check_host_name(const std::string& text);

}  // namespace roamstead::config
