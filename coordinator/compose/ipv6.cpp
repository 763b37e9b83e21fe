#include "coordinator/compose/ipv6.h"

#include <arpa/inet.h>

#include <charconv>

#include "coordinator/compose/refused.h"

namespace roamstead::compose {

Ipv6 Ipv6::masked(std::uint32_t prefix_bits) const {
  const auto ones = [](std::uint32_t bits) {
    return bits == 0 ? 0 : bits >= 64 ? ~std::uint64_t{0} : ~std::uint64_t{0} << (64 - bits);
  };
  return {high & ones(prefix_bits), low & (prefix_bits <= 64 ? 0 : ones(prefix_bits - 64))};
}

std::string Ipv6::text() const {
  in6_addr address{};
  for (int i = 0; i < 8; ++i) {
    address.s6_addr[i] = static_cast<std::uint8_t>(high >> (56 - 8 * i));
    address.s6_addr[8 + i] = static_cast<std::uint8_t>(low >> (56 - 8 * i));
  }
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET6, &address, text, sizeof text);
  return text;
}

Result<Ipv6> parse_ipv6(const std::string& text) {
  in6_addr address{};
  if (::inet_pton(AF_INET6, text.c_str(), &address) != 1) return refused("'" + text + "' is no IPv6 address");
  Ipv6 parsed;
  for (int i = 0; i < 8; ++i) {
    parsed.high = parsed.high << 8 | address.s6_addr[i];
    parsed.low = parsed.low << 8 | address.s6_addr[8 + i];
  }
  return parsed;
}

Result<AddressRange6> parse_range6(const std::string& text) {
  const auto dash = text.find('-'), slash = text.find('/');
  if (dash == std::string::npos || slash == std::string::npos || slash < dash)
    return refused("'" + text + "' is not a range such as 2001:db8::10-2001:db8::ff/64");
  AddressRange6 range;
  RS_TRY(range.first, parse_ipv6(text.substr(0, dash)));
  RS_TRY(range.last, parse_ipv6(text.substr(dash + 1, slash - dash - 1)));
  const auto* end = text.data() + text.size();
  const auto bits = std::from_chars(text.data() + slash + 1, end, range.prefix_bits);
  if (bits.ec != std::errc() || bits.ptr != end || range.prefix_bits == 0 || range.prefix_bits > 127)
    return refused("'" + text + "': the network's prefix is 1 to 127 bits");
  if (range.last < range.first) return refused("'" + text + "' ends before it begins");
  if (range.first.masked(range.prefix_bits) != range.last.masked(range.prefix_bits))
    return refused("'" + text + "' is not within one network");
  if (range.first.high != range.last.high)
    return refused("'" + text + "': addresses of one pool differ in their last 64 bits only");
  if (range.first.high >> 56 == 0xff || range.first.is_link_local() ||
      (range.first.high == 0 && range.first.low <= 1))
    return refused("'" + text + "' holds multicast, link-local or loopback addresses, or none");
  // RFC 4291, 2.6.1; not of a network for two (RFC 6164).
  if (range.prefix_bits < 127 && range.first == range.first.masked(range.prefix_bits))
    return refused("'" + text + "' holds the address of all routers of the network");
  return range;
}

Result<Ipv6> parse_gateway6(const std::string& text, const AddressRange6& range) {
  RS_TRY(const auto gateway, parse_ipv6(text));
  if (!gateway.is_link_local() && gateway.masked(range.prefix_bits) != range.first.masked(range.prefix_bits))
    return refused("'" + text + "' is in another network than 'addresses6'");
  if (gateway >= range.first && gateway <= range.last)
    return refused("'" + text + "' is one of 'addresses6': two machines would have it");
  return gateway;
}

}  // namespace roamstead::compose
