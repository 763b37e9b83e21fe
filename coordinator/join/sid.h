// Security identifiers: of domains, machines, groups.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"

namespace roamstead::join {

// Revision 1 (MS-DTYP 2.4.2): an authority of 48 bits and up to 15 numbers below it.
struct Sid {
  std::uint64_t authority = 5;  // NT
  std::vector<std::uint32_t> parts;

  bool operator==(const Sid&) const = default;

  // "S-1-5-21-1-2-3"
  static Result<Sid> parse(std::string_view text);
  // Exactly these bytes.
  static Result<Sid> from(ByteView bytes);
  // The SID at the front of `bytes`, which may go on.
  static Result<Sid> first_of(ByteView bytes);

  std::string to_string() const;
  Bytes to_bytes() const;
  std::size_t size_bytes() const { return 8 + 4 * parts.size(); }
  // An account's SID in this domain. The domain has less than 15 parts.
  Sid child(std::uint32_t rid) const;
  // S-1-5-21 and three numbers, as every machine and domain has.
  bool is_domain() const { return authority == 5 && parts.size() == 4 && parts[0] == 21; }
};

}  // namespace roamstead::join
