// Windows names: UTF-16 that may be ill-formed outside, WTF-8 inside (UTF-8 that also encodes lone
// surrogates).
#pragma once

#include <string>
#include <string_view>

#include "common/base/bytes.h"

namespace roamstead {

// Never fails: a lone surrogate becomes its three-byte encoding, a pair the four-byte one.
std::string to_wtf8(std::u16string_view utf16);
// Of UTF-16LE bytes; a trailing odd byte is ignored.
std::string utf16le_to_wtf8(ByteView utf16le);

// Fails on what no UTF-16 text encodes to: stray or overlong bytes, beyond U+10FFFF, a surrogate pair in two
// parts.
Result<std::u16string> to_utf16(std::string_view wtf8);
bool is_wtf8(std::string_view text);

// Case-insensitive comparison as the repository orders names: UTF-16 code units, each upcased by the frozen
// table in upcase_table.inc, ties broken by the code units themselves, so that the order is total. Ill-formed
// WTF-8 compares as bytes after well-formed text.
int compare_names(std::string_view a, std::string_view b);
// Equal without regard to case.
bool same_name(std::string_view a, std::string_view b);
char16_t upcase(char16_t unit);
// The name with every code unit upcased: the key under which equal names meet.
std::u16string upcase_key(std::string_view wtf8);

}  // namespace roamstead
