#include "common/base/random_hex.h"

#include <algorithm>
#include <array>

#include "common/base/guid.h"

namespace roamstead {

std::string random_hex(std::size_t bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::array<std::byte, 64> random;
  const auto used = MutableByteView(random).first(std::min(bytes, random.size()));
  fill_random(used);
  std::string text;
  for (auto byte : used) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

}  // namespace roamstead
