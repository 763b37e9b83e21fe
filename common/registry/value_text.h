// A value's data as people read and write it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/registry/format.h"

namespace roamstead::registry {

// Of string types: the text up to its ending NUL (one or several). Empty optional data gives "".
std::string string_text(ByteView utf16le);
// The strings of a REG_MULTI_SZ.
std::vector<std::string> multi_string_texts(ByteView utf16le);
std::string hex_text(ByteView bytes);  // "00ff10"
// One line: text of strings, numbers as "0x0000002a (42)", anything else in hexadecimal, cut to `most_bytes`
// of data.
std::string value_text(std::uint32_t type, ByteView data, std::size_t most_bytes);
// The reverse, from a command line: text for strings (REG_MULTI_SZ: parts separated by '\n'), a decimal or 0x
// number for REG_DWORD and REG_QWORD, hexadecimal digits for the rest.
Result<Bytes> parse_value_text(std::uint32_t type, std::string_view text);

}  // namespace roamstead::registry
