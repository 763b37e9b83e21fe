#include "common/registry/name_view.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/base/text.h"

namespace roamstead::registry {
namespace {

// Nearly all names are ASCII: a table of our own saves a call for each unit.
char16_t upcase_unit(char16_t unit) {
  static const auto table = [] {
    std::array<char16_t, 256> made{};
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = upcase(static_cast<char16_t>(i));
    return made;
  }();
  return unit < 256 ? table[unit] : upcase(unit);
}

template <typename A, typename B>
int compare_units(const A& a, const B& b) {
  const auto common = std::min(a.size(), b.size());
  for (std::size_t i = 0; i < common; ++i) {
    if (a[i] == b[i]) continue;
    const auto x = upcase_unit(a[i]);
    const auto y = upcase_unit(b[i]);
    if (x != y) return x < y ? -1 : 1;
  }
  if (a.size() == b.size()) return 0;
  return a.size() < b.size() ? -1 : 1;
}

template <typename Name>
std::uint32_t hash_units(const Name& name) {
  std::uint32_t hash = 0;
  for (std::size_t i = 0; i < name.size(); ++i) hash = hash * 37 + upcase_unit(name[i]);
  return hash;
}

}  // namespace

std::string NameView::to_wtf8() const {
  std::string out;
  append_wtf8(out);
  return out;
}

void NameView::append_wtf8(std::string& out) const {
  if (!latin1_) {
    out += utf16le_to_wtf8(raw_);
    return;
  }
  const auto text = as_text(raw_);
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) {
    out += text;
    return;
  }
  for (const char c : text) {
    const auto unit = static_cast<unsigned char>(c);
    if (unit < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xC0 | (unit >> 6));
      out += static_cast<char>(0x80 | (unit & 0x3F));
    }
  }
}

bool NameView::same_units(const NameView& other) const {
  if (latin1_ == other.latin1_)
    return raw_.size() == other.raw_.size() &&
           (raw_.empty() || std::memcmp(raw_.data(), other.raw_.data(), raw_.size()) == 0);
  if (size() != other.size()) return false;
  for (std::size_t i = 0; i < size(); ++i)
    if ((*this)[i] != other[i]) return false;
  return true;
}

int compare_upcased(const NameView& a, const NameView& b) { return compare_units(a, b); }
int compare_upcased(const NameView& a, std::u16string_view b) { return compare_units(a, b); }
std::uint32_t name_hash(const NameView& name) { return hash_units(name); }
std::uint32_t name_hash(std::u16string_view name) { return hash_units(name); }

}  // namespace roamstead::registry
