#include "agent/core/link_data.h"

#include <algorithm>

#include "common/base/text.h"

namespace roamstead::agent {

Result<Bytes> link_data(const profile::Entry& entry, const std::string& profile_root,
                        const std::string& drive) {
  constexpr std::uint32_t kMountPoint = 0xA0000003, kSymbolicLink = 0xA000000C;
  auto plain = drive + "/" + profile_root + (entry.link_target.empty() ? "" : "/" + entry.link_target);
  std::replace(plain.begin(), plain.end(), '/', '\\');
  RS_TRY(const auto print, to_utf16(plain));
  const auto substitute = u"\\??\\" + print;
  const bool symbolic = entry.kind == profile::EntryKind::symlink;
  const auto substitute_bytes = substitute.size() * 2, print_bytes = print.size() * 2;
  const auto length = 8 + (symbolic ? 4 : 0) + substitute_bytes + 2 + print_bytes + 2;
  if (length > 16 * 1024 - 8)
    return fail(ErrorCode::unsupported, "a link target of " + std::to_string(plain.size()) + " bytes");
  ByteWriter data;
  data.le<std::uint32_t>(symbolic ? kSymbolicLink : kMountPoint);
  data.le<std::uint16_t>(static_cast<std::uint16_t>(length));
  data.le<std::uint16_t>(0);
  data.le<std::uint16_t>(0);
  data.le<std::uint16_t>(static_cast<std::uint16_t>(substitute_bytes));
  data.le<std::uint16_t>(static_cast<std::uint16_t>(substitute_bytes + 2));
  data.le<std::uint16_t>(static_cast<std::uint16_t>(print_bytes));
  if (symbolic) data.le<std::uint32_t>(0);  // absolute
  for (const char16_t unit : substitute) data.le<std::uint16_t>(unit);
  data.le<std::uint16_t>(0);
  for (const char16_t unit : print) data.le<std::uint16_t>(unit);
  data.le<std::uint16_t>(0);
  return data.take();
}

}  // namespace roamstead::agent
