// A name as a hive stores it: Latin-1 ("compressed") or UTF-16LE, seen as UTF-16 code units without copying.
#pragma once

#include <string>
#include <string_view>

#include "common/base/bytes.h"

namespace roamstead::registry {

// Views bytes of a hive and is valid as long as they are. A trailing odd byte of UTF-16 is not part of the
// name.
class NameView {
 public:
  NameView() = default;
  NameView(ByteView raw, bool latin1) : raw_(raw), latin1_(latin1) {}

  std::size_t size() const { return latin1_ ? raw_.size() : raw_.size() / 2; }
  bool empty() const { return size() == 0; }
  char16_t operator[](std::size_t index) const {
    if (latin1_) return static_cast<char16_t>(std::to_integer<unsigned char>(raw_[index]));
    return static_cast<char16_t>(load_le<std::uint16_t>(raw_, index * 2));
  }
  bool latin1() const { return latin1_; }
  ByteView raw() const { return raw_; }

  std::string to_wtf8() const;
  void append_wtf8(std::string& out) const;
  // As two hives' equal names: unit by unit, case included, however they are stored.
  bool same_units(const NameView& other) const;

 private:
  ByteView raw_;
  bool latin1_ = true;
};

// Windows' order of subkeys: UTF-16 units, upcased; negative, 0 or positive.
int compare_upcased(const NameView& a, const NameView& b);
int compare_upcased(const NameView& a, std::u16string_view b);
// What `lh` lists hold for a name.
std::uint32_t name_hash(const NameView& name);
std::uint32_t name_hash(std::u16string_view name);

}  // namespace roamstead::registry
