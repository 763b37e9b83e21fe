// Where a coordinator is found: "host:port" or "[v6]:port".
#pragma once

#include <string>

#include "common/base/result.h"

namespace roamstead::wire {

struct HostPort {
  std::string host;  // without brackets
  std::string port;
};

inline Result<HostPort> split_address(const std::string& address) {
  auto colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size())
    return fail(ErrorCode::invalid_argument, "'" + address + "' is not host:port");
  HostPort parts{address.substr(0, colon), address.substr(colon + 1)};
  if (parts.host.front() == '[' && parts.host.back() == ']')
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  return parts;
}

}  // namespace roamstead::wire
