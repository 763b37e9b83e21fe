#include "coordinator/hypervisor/vm.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "common/base/sha256.h"

namespace roamstead::hypervisor {
namespace {

auto digest_of(const std::string& text) { return sha256(as_bytes(text)); }

}  // namespace

int hexadecimal(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

std::string mac_text(std::uint64_t mac) {
  std::string text;
  for (int shift = 40; shift >= 0; shift -= 8)
    text += fmt::format("{}{:02x}", text.empty() ? "" : ":", mac >> shift & 255);
  return text;
}

Result<std::uint64_t> parse_mac(const std::string& text) {
  constexpr std::size_t kLength = 17;
  const auto wrong = [&] {
    return fail(ErrorCode::invalid_argument, "'" + text + "' is no address such as 52:54:00:0a:00:01");
  };
  if (text.size() != kLength) return wrong();
  std::uint64_t mac = 0;
  for (std::size_t at = 0; at < kLength; ++at) {
    if (at % 3 == 2) {
      if (text[at] != ':' && text[at] != '-') return wrong();
      continue;
    }
    const auto digit = hexadecimal(text[at]);
    if (digit < 0) return wrong();
    mac = mac << 4 | static_cast<std::uint64_t>(digit);
  }
  if ((mac >> 40 & 1) != 0 || mac == 0)
    return fail(ErrorCode::invalid_argument, "'" + text + "' is an address of a group, not of one adapter");
  return mac;
}

Guid vm_uuid(const std::string& pool, const std::string& name) {
  const auto digest = digest_of("roamstead vm\n" + pool + "\n" + name);
  Guid uuid;
  std::copy_n(digest.begin(), uuid.bytes.size(), uuid.bytes.begin());
  // Version 8, "as its maker likes" (RFC 9562), in the byte order of Guid.
  uuid.bytes[7] = (uuid.bytes[7] & std::byte{0x0F}) | std::byte{0x80};
  uuid.bytes[8] = (uuid.bytes[8] & std::byte{0x3F}) | std::byte{0x80};
  return uuid;
}

std::uint64_t first_mac(std::uint64_t base, unsigned range_bits, const std::string& pool,
                        std::uint64_t count) {
  // Ranges begin at multiples of a power of two, so that those of pools of one size are the same or apart.
  std::uint64_t step = 1;
  while (step < count) step *= 2;
  const auto places = std::max<std::uint64_t>(1, (std::uint64_t{1} << range_bits) / step);
  std::uint64_t number = 0;
  const auto digest = digest_of("roamstead mac\n" + pool);
  for (std::size_t at = 0; at < 8; ++at) number = number << 8 | std::to_integer<std::uint64_t>(digest[at]);
  return base + number % places * step;
}

std::string_view to_string(Power power) {
  return power == Power::on ? "on" : power == Power::off ? "off" : "unknown";
}

Power parse_power(std::string_view text) {
  constexpr std::string_view kOn[] = {"on",     "running",     "started", "poweredon", "idle",
                                      "paused", "in shutdown", "blocked", "suspended", "pmsuspended"};
  constexpr std::string_view kOff[] = {"off",    "shut off",   "shutoff", "stopped",
                                       "halted", "poweredoff", "crashed", "saved"};
  std::string word;
  for (const char c : text) word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto begin = word.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return Power::unknown;
  word = word.substr(begin, word.find_last_not_of(" \t\r\n") + 1 - begin);
  if (std::find(std::begin(kOn), std::end(kOn), word) != std::end(kOn)) return Power::on;
  if (std::find(std::begin(kOff), std::end(kOff), word) != std::end(kOff)) return Power::off;
  return Power::unknown;
}

}  // namespace roamstead::hypervisor
