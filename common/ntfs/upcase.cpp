#include "common/ntfs/upcase.h"

#include <fmt/format.h>

#include <algorithm>

namespace roamstead::ntfs {

Result<UpcaseTable> UpcaseTable::parse(ByteView table) {
  if (table.size() != kUnits * 2)
    return fail(ErrorCode::corrupt,
                fmt::format("$UpCase has {} bytes, expected {}", table.size(), kUnits * 2));
  UpcaseTable upcase;
  upcase.table_ = std::make_unique_for_overwrite<char16_t[]>(kUnits);
  std::memcpy(upcase.table_.get(), table.data(),
              kUnits * 2);  // the host is little-endian (common/base/bytes.h)
  for (char16_t unit = 1; unit < 128; ++unit) {
    const char16_t expected = unit >= 'a' && unit <= 'z' ? unit - 32 : unit;
    if (upcase.table_[unit] != expected)
      return fail(ErrorCode::corrupt, fmt::format("$UpCase maps {} to {}", static_cast<unsigned>(unit),
                                                  static_cast<unsigned>(upcase.table_[unit])));
  }
  return upcase;
}

int UpcaseTable::compare(std::u16string_view a, ByteView b) const {
  const auto b_units = b.size() / 2;
  for (std::size_t i = 0; i < std::min(a.size(), b_units); ++i) {
    const auto left = table_[a[i]];
    const auto right = table_[load_le<std::uint16_t>(b, i * 2)];
    if (left != right) return left < right ? -1 : 1;
  }
  return a.size() == b_units ? 0 : a.size() < b_units ? -1 : 1;
}

}  // namespace roamstead::ntfs
