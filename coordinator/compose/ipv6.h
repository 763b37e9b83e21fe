// IPv6 addresses as specifications of pools have them.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "common/base/result.h"

namespace roamstead::compose {

struct Ipv6 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  auto operator<=>(const Ipv6&) const = default;
  Ipv6 masked(std::uint32_t prefix_bits) const;
  bool is_link_local() const { return high >> 54 == 0xfe80 >> 6; }
  std::string text() const;  // as RFC 5952 has it
};

// An address for each clone, in the order of their numbers.
struct AddressRange6 {
  Ipv6 first;
  Ipv6 last;
  std::uint32_t prefix_bits = 64;
  Ipv6 gateway;  // zero: what routers announce

  // One less than there are: all 64 bits may be in use.
  std::uint64_t last_index() const { return last.low - first.low; }
  Ipv6 address(std::uint64_t index) const { return {first.high, first.low + index}; }
};

Result<Ipv6> parse_ipv6(const std::string& text);
// "2001:db8::10-2001:db8::ff/64". Refuses what is not within one network, multicast, loopback and link-local
// addresses, and the address that means all routers of the network.
Result<AddressRange6> parse_range6(const std::string& text);
// Where the range's desktops send what is for other networks: within the network or link-local, and none of
// theirs.
Result<Ipv6> parse_gateway6(const std::string& text, const AddressRange6& range);

}  // namespace roamstead::compose
