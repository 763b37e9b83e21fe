#include "common/registry/value_text.h"

#include <fmt/format.h>

#include <charconv>

#include "common/base/text.h"

namespace roamstead::registry {
namespace {

Bytes utf16_bytes(std::u16string_view units) {
  Bytes bytes(units.size() * 2);
  if (!units.empty()) std::memcpy(bytes.data(), units.data(), bytes.size());
  return bytes;
}

Result<std::uint64_t> parse_number(std::string_view text, std::uint64_t most) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const auto digits = hexadecimal ? text.substr(2) : text;
  std::uint64_t number = 0;
  auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size() || number > most)
    return fail(ErrorCode::invalid_argument, fmt::format("'{}' is no number from 0 to {}", text, most));
  return number;
}

Result<Bytes> parse_hex(std::string_view text) {
  Bytes bytes;
  for (std::size_t at = 0; at < text.size(); at += 2) {
    unsigned byte = 0;
    const auto pair = text.substr(at, 2);
    auto [end, error] = std::from_chars(pair.data(), pair.data() + pair.size(), byte, 16);
    if (error != std::errc() || end != pair.data() + 2)
      return fail(ErrorCode::invalid_argument, fmt::format("two hexadecimal digits expected at '{}'", pair));
    bytes.push_back(static_cast<std::byte>(byte));
  }
  return bytes;
}

}  // namespace

std::string string_text(ByteView utf16le) {
  auto units = utf16le.size() / 2;
  while (units > 0 && load_le<std::uint16_t>(utf16le, (units - 1) * 2) == 0) --units;
  return utf16le_to_wtf8(utf16le.first(units * 2));
}

std::vector<std::string> multi_string_texts(ByteView utf16le) {
  std::vector<std::string> texts;
  const auto units = utf16le.size() / 2;
  for (std::size_t begin = 0; begin < units;) {
    auto end = begin;
    while (end < units && load_le<std::uint16_t>(utf16le, end * 2) != 0) ++end;
    if (end == begin) break;  // an empty string ends the list
    texts.push_back(utf16le_to_wtf8(utf16le.subspan(begin * 2, (end - begin) * 2)));
    begin = end + 1;
  }
  return texts;
}

std::string hex_text(ByteView bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const auto byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

std::string value_text(std::uint32_t type, ByteView data, std::size_t most_bytes) {
  const bool cut = data.size() > most_bytes;
  const auto part = data.first(std::min(data.size(), most_bytes));
  const char* more = cut ? " …" : "";
  switch (static_cast<ValueType>(type)) {
    case ValueType::string:
    case ValueType::expand_string:
    case ValueType::link:
      return string_text(part) + more;
    case ValueType::multi_string: {
      std::string text;
      for (const auto& each : multi_string_texts(part)) text += (text.empty() ? "" : " | ") + each;
      return text + more;
    }
    case ValueType::dword:
      if (data.size() != 4) break;
      return fmt::format("0x{0:08x} ({0})", load_le<std::uint32_t>(data));
    case ValueType::dword_big_endian:
      if (data.size() != 4) break;
      return fmt::format("0x{0:08x} ({0})", load_be<std::uint32_t>(data));
    case ValueType::qword:
      if (data.size() != 8) break;
      return fmt::format("0x{0:016x} ({0})", load_le<std::uint64_t>(data));
    default:
      break;
  }
  return hex_text(part) + more;
}

Result<Bytes> parse_value_text(std::uint32_t type, std::string_view text) {
  switch (static_cast<ValueType>(type)) {
    case ValueType::string:
    case ValueType::expand_string:
    case ValueType::link: {
      RS_TRY(auto units, to_utf16(text));
      // A link's target has no ending NUL.
      if (static_cast<ValueType>(type) != ValueType::link) units += u'\0';
      return utf16_bytes(units);
    }
    case ValueType::multi_string: {
      RS_TRY(auto units, to_utf16(text));
      for (auto& unit : units)
        if (unit == u'\n') unit = u'\0';
      if (!units.empty()) units += u'\0';
      return utf16_bytes(units + u'\0');
    }
    case ValueType::dword:
    case ValueType::dword_big_endian: {
      RS_TRY(const auto number, parse_number(text, 0xFFFFFFFF));
      Bytes bytes(4);
      const auto word = static_cast<std::uint32_t>(number);
      if (static_cast<ValueType>(type) == ValueType::dword) {
        store_le<std::uint32_t>(bytes, 0, word);
      } else {
        store_be<std::uint32_t>(bytes, 0, word);
      }
      return bytes;
    }
    case ValueType::qword: {
      RS_TRY(const auto number, parse_number(text, ~std::uint64_t{0}));
      Bytes bytes(8);
      store_le<std::uint64_t>(bytes, 0, number);
      return bytes;
    }
    default:
      return parse_hex(text);
  }
}

}  // namespace roamstead::registry
