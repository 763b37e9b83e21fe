#include "common/base/host_port.h"

#include <charconv>

namespace roamstead {

Result<HostPort> parse_host_port(const std::string& text) {
  const auto bad = [&] {
    return fail(ErrorCode::invalid_argument,
                "'" + text + "' is not host:port, such as 192.0.2.7:7420 or [2001:db8::7]:7420");
  };
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) return bad();
  HostPort parts;
  const auto* end = text.data() + text.size();
  const auto number = std::from_chars(text.data() + colon + 1, end, parts.port);
  if (number.ec != std::errc() || number.ptr != end) return bad();
  parts.host = text.substr(0, colon);
  const bool bracketed = parts.host.size() > 2 && parts.host.front() == '[' && parts.host.back() == ']';
  if (bracketed) parts.host = parts.host.substr(1, parts.host.size() - 2);
  const bool has_colon = parts.host.find(':') != std::string::npos;
  if (parts.host.empty() || has_colon != bracketed || parts.host.find_first_of("[]") != std::string::npos)
    return bad();
  return parts;
}

std::string to_string(const HostPort& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

}  // namespace roamstead
