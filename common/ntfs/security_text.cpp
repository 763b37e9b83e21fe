#include "common/ntfs/security_text.h"

#include <fmt/format.h>

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kMaxSubAuthorities = 15;

struct Letters {
  unsigned bit;
  const char* text;
};
constexpr Letters kAceFlags[] = {{0x02, "CI"}, {0x01, "OI"}, {0x04, "NP"}, {0x08, "IO"},
                                 {0x10, "ID"}, {0x40, "SA"}, {0x80, "FA"}};
// Protected, inheritance required, inherited: of the DACL; of the SACL one bit higher.
constexpr Letters kAclFlags[] = {{0x1000, "P"}, {0x0100, "AR"}, {0x0400, "AI"}};

std::string letters(unsigned bits, std::span<const Letters> names) {
  std::string text;
  for (const auto& [bit, name] : names)
    if ((bits & bit) != 0) text += name;
  return text;
}

std::string ace_type(unsigned type) {
  switch (type) {
    case 0:
      return "A";
    case 1:
      return "D";
    case 2:
      return "AU";
    case 0x11:
      return "ML";
    case 0x13:
      return "SP";
    default:
      return fmt::format("0x{:x}", type);
  }
}

Result<std::string> acl_text(ByteView descriptor, std::uint32_t at) {
  if (at > descriptor.size() || descriptor.size() - at < 8)
    return fail(ErrorCode::corrupt, fmt::format("security descriptor: a list at byte {}", at));
  const std::size_t length = load_le<std::uint16_t>(descriptor, at + 2);
  const auto count = load_le<std::uint16_t>(descriptor, at + 4);
  if (length < 8 || length > descriptor.size() - at)
    return fail(ErrorCode::corrupt, fmt::format("security descriptor: a list of {} bytes at {}", length, at));
  const auto acl = descriptor.subspan(at, length);
  std::string text;
  std::size_t entry = 8;
  for (unsigned i = 0; i < count; ++i) {
    const std::size_t bytes = acl.size() - entry < 4 ? 0 : load_le<std::uint16_t>(acl, entry + 2);
    if (bytes < 4 || bytes > acl.size() - entry)
      return fail(ErrorCode::corrupt,
                  fmt::format("security descriptor: entry {} of {} leaves its list", i, count));
    const auto ace = acl.subspan(entry, bytes);
    const auto type = load_le<std::uint8_t>(ace, 0);
    const auto head =
        fmt::format("({};{}", ace_type(type), letters(load_le<std::uint8_t>(ace, 1), kAceFlags));
    const bool simple = type <= 2 || type == 0x11 || type == 0x13;
    if (simple && bytes >= 8) {
      RS_TRY(const auto sid, sid_text(ace.subspan(8)));
      text += fmt::format("{};0x{:x};;;{})", head, load_le<std::uint32_t>(ace, 4), sid);
    } else {
      text += head + ")";
    }
    entry += bytes;
  }
  return text;
}

}  // namespace

Result<std::string> sid_text(ByteView sid) {
  const std::size_t count = sid.size() < 8 ? 0 : load_le<std::uint8_t>(sid, 1);
  if (sid.size() < 8 || count > kMaxSubAuthorities || 8 + count * 4 > sid.size())
    return fail(ErrorCode::corrupt, fmt::format("a SID of {} parts in {} bytes", count, sid.size()));
  std::uint64_t authority = 0;
  for (std::size_t i = 2; i < 8; ++i) authority = authority << 8 | std::to_integer<std::uint64_t>(sid[i]);
  auto text = fmt::format("S-{}-{}", load_le<std::uint8_t>(sid, 0), authority);
  for (std::size_t i = 0; i < count; ++i) text += fmt::format("-{}", load_le<std::uint32_t>(sid, 8 + i * 4));
  return text;
}

Result<SecurityText> describe_security(ByteView descriptor) {
  if (descriptor.size() < 20) return fail(ErrorCode::corrupt, "security descriptor: shorter than its header");
  const unsigned control = load_le<std::uint16_t>(descriptor, 2);
  const auto owner_at = load_le<std::uint32_t>(descriptor, 4);
  const auto group_at = load_le<std::uint32_t>(descriptor, 8);
  const auto sacl_at = load_le<std::uint32_t>(descriptor, 12);
  const auto dacl_at = load_le<std::uint32_t>(descriptor, 16);
  if (owner_at > descriptor.size() || group_at > descriptor.size())
    return fail(ErrorCode::corrupt, "security descriptor: owner or group beyond its end");
  SecurityText text;
  if (owner_at != 0) {
    RS_TRY(text.owner, sid_text(descriptor.subspan(owner_at)));
    text.sddl += "O:" + text.owner;
  }
  if (group_at != 0) {
    RS_TRY(text.group, sid_text(descriptor.subspan(group_at)));
    text.sddl += "G:" + text.group;
  }
  if ((control & 0x0004) != 0 && dacl_at == 0) text.sddl += "D:NO_ACCESS_CONTROL";
  if ((control & 0x0004) != 0 && dacl_at != 0) {
    RS_TRY(const auto entries, acl_text(descriptor, dacl_at));
    text.sddl += "D:" + letters(control, kAclFlags) + entries;
  }
  if ((control & 0x0010) != 0 && sacl_at != 0) {
    RS_TRY(const auto entries, acl_text(descriptor, sacl_at));
    text.sddl += "S:" + letters(control >> 1, kAclFlags) + entries;
  }
  return text;
}

}  // namespace roamstead::ntfs
