#include "common/base/guid.h"

#include <algorithm>

namespace roamstead {
namespace {

// Text order of the storage bytes.
constexpr int kTextOrder[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr char kHex[] = "0123456789abcdef";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string Guid::to_string() const {
  std::string text;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    auto value = static_cast<unsigned>(bytes[static_cast<std::size_t>(kTextOrder[i])]);
    text += kHex[value >> 4];
    text += kHex[value & 15];
  }
  return text;
}

Result<Guid> Guid::parse(std::string_view text) {
  auto original = std::string(text);
  if (text.size() == 38 && text.front() == '{' && text.back() == '}') text = text.substr(1, 36);
  if (text.size() != 36) return fail(ErrorCode::invalid_argument, "not a GUID: '" + original + "'");
  Guid guid;
  int byte = 0;
  for (std::size_t i = 0; i < 36;) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return fail(ErrorCode::invalid_argument, "not a GUID: '" + original + "'");
      ++i;
      continue;
    }
    auto high = hex_value(text[i]);
    auto low = hex_value(text[i + 1]);
    if (high < 0 || low < 0) return fail(ErrorCode::invalid_argument, "not a GUID: '" + original + "'");
    guid.bytes[static_cast<std::size_t>(kTextOrder[byte++])] = static_cast<std::byte>(high * 16 + low);
    i += 2;
  }
  return guid;
}

Guid Guid::from(ByteView sixteen_bytes) {
  Guid guid;
  std::copy_n(sixteen_bytes.begin(), 16, guid.bytes.begin());
  return guid;
}

Guid Guid::random() {
  Guid guid;
  fill_random(guid.bytes);
  guid.bytes[7] = (guid.bytes[7] & std::byte{0x0F}) | std::byte{0x40};
  guid.bytes[8] = (guid.bytes[8] & std::byte{0x3F}) | std::byte{0x80};
  return guid;
}

}  // namespace roamstead
