// GUIDs as disk formats store them (first three fields little-endian).
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "common/base/bytes.h"

namespace roamstead {

struct Guid {
  std::array<std::byte, 16> bytes{};  // in storage order

  bool is_zero() const { return *this == Guid{}; }
  bool operator==(const Guid&) const = default;
  auto operator<=>(const Guid&) const = default;

  // Lower case, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", without braces.
  std::string to_string() const;
  // With or without braces, any case.
  static Result<Guid> parse(std::string_view text);
  static Guid from(ByteView sixteen_bytes);
  static Guid random();  // version 4, from the operating system's generator
};

// Fills `out` from the operating system's random generator; ends the process if there is none.
void fill_random(MutableByteView out);

}  // namespace roamstead
