#include "common/base/crc32c.h"

#include <array>

namespace roamstead {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;

// Slicing by eight: table[k][b] is the effect of byte b followed by k zero bytes.
constexpr auto make_tables() {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    auto crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][b] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k)
    for (std::size_t b = 0; b < 256; ++b)
      tables[k][b] = (tables[k - 1][b] >> 8) ^ tables[0][tables[k - 1][b] & 0xFF];
  return tables;
}
constexpr auto kTables = make_tables();

}  // namespace

std::uint32_t crc32c(ByteView data, std::uint32_t previous) {
  auto crc = ~previous;
  std::size_t i = 0;
  for (; i + 8 <= data.size(); i += 8) {
    auto word = load_le<std::uint64_t>(data, i) ^ crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][(word >> (8 * k)) & 0xFF];
  }
  for (; i < data.size(); ++i)
    crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<std::uint32_t>(data[i])) & 0xFF];
  return ~crc;
}

}  // namespace roamstead
