#include "common/base/text.h"

#include <algorithm>
#include <array>
#include <memory>

namespace roamstead {
namespace {

struct UpcaseRun {
  char16_t first;      // first code unit of the run
  char16_t last;       // last one, inclusive
  char16_t step;       // 1: every unit, 2: every second
  std::int32_t delta;  // added to the unit
};
constexpr UpcaseRun kUpcaseRuns[] = {
#include "common/base/upcase_table.inc"
};

const std::array<char16_t, 65536>& upcase_table() {
  static const auto table = [] {
    auto made = std::make_unique<std::array<char16_t, 65536>>();
    for (std::size_t i = 0; i < 65536; ++i) (*made)[i] = static_cast<char16_t>(i);
    for (const auto& run : kUpcaseRuns)
      for (std::uint32_t unit = run.first; unit <= run.last; unit += run.step)
        (*made)[unit] = static_cast<char16_t>(static_cast<std::int32_t>(unit) + run.delta);
    return made;
  }();
  return *table;
}

void append_code_point(std::string& out, std::uint32_t code) {
  auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

constexpr bool is_high(std::uint32_t unit) { return unit >= 0xD800 && unit < 0xDC00; }
constexpr bool is_low(std::uint32_t unit) { return unit >= 0xDC00 && unit < 0xE000; }

// Decodes one code point at `at` and moves past it; 0xFFFFFFFF when ill-formed.
std::uint32_t next_code_point(std::string_view text, std::size_t& at) {
  constexpr std::uint32_t kBad = 0xFFFFFFFF;
  auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) {
    ++at;
    return lead;
  }
  std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || at + length > text.size()) return kBad;
  std::uint32_t code = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    auto byte = static_cast<unsigned char>(text[at + i]);
    if ((byte & 0xC0) != 0x80) return kBad;
    code = (code << 6) | (byte & 0x3F);
  }
  if ((length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10FFFF))) return kBad;
  at += length;
  return code;
}

// Walks both names code unit by code unit without allocating; false when either is ill-formed.
class UnitCursor {
 public:
  explicit UnitCursor(std::string_view text) : text_(text) {}
  // Next unit, or -1 at the end, or -2 when ill-formed.
  std::int32_t next() {
    if (pending_ != 0) {
      auto unit = pending_;
      pending_ = 0;
      return unit;
    }
    if (at_ == text_.size()) return -1;
    auto code = next_code_point(text_, at_);
    if (code == 0xFFFFFFFF) return -2;
    if (code < 0x10000) return static_cast<std::int32_t>(code);
    code -= 0x10000;
    pending_ = static_cast<std::int32_t>(0xDC00 + (code & 0x3FF));
    return static_cast<std::int32_t>(0xD800 + (code >> 10));
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
  std::int32_t pending_ = 0;
};

}  // namespace

std::string to_wtf8(std::u16string_view utf16) {
  std::string out;
  out.reserve(utf16.size() + utf16.size() / 2);
  for (std::size_t i = 0; i < utf16.size(); ++i) {
    std::uint32_t unit = utf16[i];
    if (is_high(unit) && i + 1 < utf16.size() && is_low(utf16[i + 1]))
      unit = 0x10000 + ((unit - 0xD800) << 10) + (std::uint32_t{utf16[++i]} - 0xDC00);
    append_code_point(out, unit);
  }
  return out;
}

std::string utf16le_to_wtf8(ByteView utf16le) {
  std::u16string units(utf16le.size() / 2, u'\0');
  if (!units.empty()) std::memcpy(units.data(), utf16le.data(), units.size() * 2);
  return to_wtf8(units);
}

Result<std::u16string> to_utf16(std::string_view wtf8) {
  std::u16string out;
  out.reserve(wtf8.size());
  bool after_encoded_high = false;
  for (std::size_t at = 0; at < wtf8.size();) {
    auto start = at;
    auto code = next_code_point(wtf8, at);
    if (code == 0xFFFFFFFF)
      return fail(ErrorCode::invalid_argument, "not WTF-8: bad byte at offset " + std::to_string(start));
    if (after_encoded_high && is_low(code))
      return fail(ErrorCode::invalid_argument,
                  "not WTF-8: a surrogate pair in two parts at offset " + std::to_string(start));
    after_encoded_high = is_high(code);
    if (code >= 0x10000) {
      out += static_cast<char16_t>(0xD800 + ((code - 0x10000) >> 10));
      out += static_cast<char16_t>(0xDC00 + ((code - 0x10000) & 0x3FF));
    } else {
      out += static_cast<char16_t>(code);
    }
  }
  return out;
}

bool is_wtf8(std::string_view text) { return to_utf16(text).has_value(); }

char16_t upcase(char16_t unit) { return upcase_table()[unit]; }

std::u16string upcase_key(std::string_view wtf8) {
  std::u16string key;
  UnitCursor cursor(wtf8);
  for (auto unit = cursor.next(); unit >= 0; unit = cursor.next()) key += upcase(static_cast<char16_t>(unit));
  return key;
}

int compare_names(std::string_view a, std::string_view b) {
  const auto& table = upcase_table();
  UnitCursor left(a);
  UnitCursor right(b);
  int tie = 0;
  for (;;) {
    auto x = left.next();
    auto y = right.next();
    if (x == -2 || y == -2) {
      if (x != y) return x == -2 ? 1 : -1;
      return a.compare(b) < 0 ? -1 : (a == b ? 0 : 1);
    }
    if (x < 0 || y < 0) {
      if (x != y) return x < y ? -1 : 1;
      return tie;
    }
    auto up_x = table[static_cast<std::size_t>(x)];
    auto up_y = table[static_cast<std::size_t>(y)];
    if (up_x != up_y) return up_x < up_y ? -1 : 1;
    if (tie == 0 && x != y) tie = x < y ? -1 : 1;
  }
}

bool same_name(std::string_view a, std::string_view b) { return a == b || upcase_key(a) == upcase_key(b); }

}  // namespace roamstead
