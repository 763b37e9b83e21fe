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

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t crc32c_by_instruction(ByteView data, std::uint32_t previous) {
  std::uint64_t crc = ~previous;
  std::size_t i = 0;
  for (; i + 8 <= data.size(); i += 8) crc = __builtin_ia32_crc32di(crc, load_le<std::uint64_t>(data, i));
  auto rest = static_cast<std::uint32_t>(crc);
  for (; i < data.size(); ++i) rest = __builtin_ia32_crc32qi(rest, static_cast<std::uint8_t>(data[i]));
  return ~rest;
}
const bool kHasInstruction = [] {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2") != 0;
}();
#endif

}  // namespace

std::uint32_t crc32c(ByteView data, std::uint32_t previous) {
#if defined(__x86_64__)
  if (kHasInstruction) return crc32c_by_instruction(data, previous);
#endif
  return crc32c_by_table(data, previous);
}

std::uint32_t crc32c_by_table(ByteView data, std::uint32_t previous) {
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
