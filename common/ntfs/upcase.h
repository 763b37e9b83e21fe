// The volume's own table of upper-case letters ($UpCase), by which its directory indexes are ordered.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/base/bytes.h"

namespace roamstead::ntfs {

class UpcaseTable {
 public:
  static constexpr std::size_t kUnits = 65536;

  // ErrorCode::corrupt for a table that cannot be one: wrong size, or ASCII not upcased as ASCII is.
  static Result<UpcaseTable> parse(ByteView table);

  char16_t operator()(char16_t unit) const { return table_[unit]; }
  // <0, 0, >0 without regard to case; `b` is UTF-16LE.
  int compare(std::u16string_view a, ByteView b) const;

 private:
  std::unique_ptr<char16_t[]> table_;  // kUnits of them
};

}  // namespace roamstead::ntfs
