#include "agent/scan/security_form.h"

#include <algorithm>
#include <optional>

namespace roamstead::agent {
namespace {

// [MS-DTYP] 2.4.6: revision, resource control, control, then the offsets of owner, group, SACL and DACL.
constexpr std::size_t kHeaderBytes = 20, kOwner = 4, kGroup = 8, kAccess = 16;
constexpr std::size_t kListHeaderBytes = 8, kSidHeaderBytes = 8;
constexpr std::uint16_t kPresent = 0x0004;
// Present, inherited of late, protected against it. The others say how it came to be.
constexpr std::uint16_t kCompared = 0x0004 | 0x0400 | 0x1000;

struct Parts {
  std::uint16_t control = 0;
  Bytes owner, group, access;

  bool operator==(const Parts&) const = default;
};

std::optional<Bytes> sid_at(ByteView bytes, std::size_t field) {
  const auto at = load_le<std::uint32_t>(bytes, field);
  if (at == 0) return Bytes();
  if (at > bytes.size() || bytes.size() - at < kSidHeaderBytes) return std::nullopt;
  const auto length = kSidHeaderBytes + 4 * std::to_integer<std::size_t>(bytes[at + 1]);
  if (bytes.size() - at < length) return std::nullopt;
  return Bytes(bytes.begin() + at, bytes.begin() + static_cast<std::ptrdiff_t>(at + length));
}

// Its entries, without what is left free at its end.
std::optional<Bytes> access_of(ByteView bytes) {
  const auto at = load_le<std::uint32_t>(bytes, kAccess);
  if (at == 0) return Bytes();
  if (at > bytes.size() || bytes.size() - at < kListHeaderBytes) return std::nullopt;
  const auto list = bytes.subspan(at);
  std::size_t end = kListHeaderBytes;
  for (auto left = load_le<std::uint16_t>(list, 4); left > 0; --left) {
    if (list.size() - end < 4) return std::nullopt;
    const auto size = load_le<std::uint16_t>(list, end + 2);
    if (size < 4 || size > list.size() - end) return std::nullopt;
    end += size;
  }
  Bytes access(list.begin(), list.begin() + 1);  // its revision, and what makes it differ from none at all
  access.insert(access.end(), list.begin() + kListHeaderBytes,
                list.begin() + static_cast<std::ptrdiff_t>(end));
  return access;
}

std::optional<Parts> parts_of(ByteView bytes) {
  if (bytes.size() < kHeaderBytes) return std::nullopt;
  Parts parts;
  parts.control = load_le<std::uint16_t>(bytes, 2) & kCompared;
  auto owner = sid_at(bytes, kOwner), group = sid_at(bytes, kGroup);
  if (!owner || !group) return std::nullopt;
  parts.owner = std::move(*owner);
  parts.group = std::move(*group);
  if ((parts.control & kPresent) == 0) return parts;
  auto access = access_of(bytes);
  if (!access) return std::nullopt;
  parts.access = std::move(*access);
  return parts;
}

}  // namespace

bool says_the_same(ByteView one, ByteView other) {
  if (std::equal(one.begin(), one.end(), other.begin(), other.end())) return true;
  const auto first = parts_of(one), second = parts_of(other);
  return first && second && *first == *second;
}

}  // namespace roamstead::agent
