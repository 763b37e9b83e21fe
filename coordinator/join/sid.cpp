#include "coordinator/join/sid.h"

#include <charconv>

namespace roamstead::join {
namespace {

constexpr std::size_t kMaxParts = 15;

template <class T>
Result<T> sid_number(std::string_view& rest, std::string_view whole) {
  T number = 0;
  const auto end = rest.find('-');
  const auto digits = rest.substr(0, end);
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || stop != digits.data() + digits.size())
    return fail(ErrorCode::invalid_argument,
                "\"" + std::string(whole) + "\" is no SID: \"" + std::string(digits) + "\" is no number");
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return number;
}

}  // namespace

Result<Sid> Sid::parse(std::string_view text) {
  if (!text.starts_with("S-1-") || text.ends_with('-'))
    return fail(ErrorCode::invalid_argument,
                "\"" + std::string(text) + "\" is no SID: expected S-1-authority-number-number-…");
  auto rest = text.substr(4);
  Sid sid;
  RS_TRY(sid.authority, sid_number<std::uint64_t>(rest, text));
  if (sid.authority >> 48 != 0)
    return fail(ErrorCode::invalid_argument,
                "the SID \"" + std::string(text) + "\" has too big an authority");
  while (!rest.empty()) {
    RS_TRY(sid.parts.emplace_back(), sid_number<std::uint32_t>(rest, text));
    if (sid.parts.size() > kMaxParts)
      return fail(ErrorCode::invalid_argument,
                  "the SID \"" + std::string(text.substr(0, 200)) + "\" has more than 15 numbers");
  }
  return sid;
}

Result<Sid> Sid::first_of(ByteView bytes) {
  if (bytes.size() < 8) return fail(ErrorCode::corrupt, "a SID ends early");
  const auto revision = std::to_integer<unsigned>(bytes[0]);
  const auto count = std::to_integer<std::size_t>(bytes[1]);
  if (revision != 1 || count > kMaxParts)
    return fail(ErrorCode::corrupt, "not a SID: revision " + std::to_string(revision) + ", " +
                                        std::to_string(count) + " numbers");
  if (bytes.size() < 8 + 4 * count) return fail(ErrorCode::corrupt, "a SID ends early");
  Sid sid;
  sid.authority = 0;
  for (std::size_t i = 2; i < 8; ++i)
    sid.authority = sid.authority << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  for (std::size_t i = 0; i < count; ++i) sid.parts.push_back(load_le<std::uint32_t>(bytes, 8 + 4 * i));
  return sid;
}

Result<Sid> Sid::from(ByteView bytes) {
  RS_TRY(auto sid, first_of(bytes));
  if (sid.size_bytes() != bytes.size())
    return fail(ErrorCode::corrupt,
                "a SID of " + std::to_string(sid.size_bytes()) + " bytes in " + std::to_string(bytes.size()));
  return sid;
}

std::string Sid::to_string() const {
  auto text = "S-1-" + std::to_string(authority);
  for (const auto part : parts) text += "-" + std::to_string(part);
  return text;
}

Bytes Sid::to_bytes() const {
  Bytes bytes(size_bytes());
  bytes[0] = std::byte{1};
  bytes[1] = static_cast<std::byte>(parts.size());
  for (std::size_t i = 0; i < 6; ++i) bytes[7 - i] = static_cast<std::byte>(authority >> 8 * i & 0xff);
  for (std::size_t i = 0; i < parts.size(); ++i) store_le<std::uint32_t>(bytes, 8 + 4 * i, parts[i]);
  return bytes;
}

Sid Sid::child(std::uint32_t rid) const {
  auto account = *this;
  account.parts.push_back(rid);
  return account;
}

}  // namespace roamstead::join
