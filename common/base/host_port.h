// Where something listens or is found: "host:port", or "[v6]:port".
#pragma once

#include <cstdint>
#include <string>

#include "common/base/result.h"

namespace roamstead {

struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;

  bool operator==(const HostPort&) const = default;
};

// invalid_argument where there is no host, no port of 0 to 65535, or an IPv6 address without its brackets.
// Whether the host is a name or an address, and a good one, is the caller's question.
Result<HostPort> parse_host_port(const std::string& text);
// The reverse.
std::string to_string(const HostPort& address);

}  // namespace roamstead
