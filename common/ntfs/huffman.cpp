#include "common/ntfs/huffman.h"

namespace roamstead::ntfs {

Result<void> HuffmanCode::build(std::span<const std::uint8_t> lengths) {
  std::array<std::uint32_t, kMaxBits + 1> count{};
  for (const auto length : lengths) {
    if (length > kMaxBits) return fail(ErrorCode::corrupt, "a code word of more than 16 bits");
    if (length != 0) ++count[length];
  }
  std::uint32_t next = 0;  // the next free word, aligned to 16 bits
  std::uint32_t symbols = 0;
  for (unsigned length = 1; length <= kMaxBits; ++length) {
    first_[length] = next;
    start_[length] = symbols;
    next += count[length] << (kMaxBits - length);
    symbols += count[length];
    limit_[length] = next;
    if (next > (1u << kMaxBits)) return fail(ErrorCode::corrupt, "more code words than fit");
  }
  symbols_.resize(symbols);
  quick_.fill(0);
  auto at = start_;
  auto word = first_;
  for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol) {
    const unsigned length = lengths[symbol];
    if (length == 0) continue;
    symbols_[at[length]++] = static_cast<std::uint16_t>(symbol);
    if (length <= kQuickBits)
      std::fill_n(quick_.begin() + (word[length] >> (kMaxBits - kQuickBits)), 1u << (kQuickBits - length),
                  static_cast<std::uint16_t>(symbol << 4 | length));
    word[length] += 1u << (kMaxBits - length);
  }
  return {};
}

int HuffmanCode::decode_long(BitReader& bits, std::uint32_t next) const {
  for (unsigned length = kQuickBits + 1; length <= kMaxBits; ++length) {
    if (next >= limit_[length]) continue;
    bits.drop(length);
    return symbols_[start_[length] + ((next - first_[length]) >> (kMaxBits - length))];
  }
  return -1;
}

}  // namespace roamstead::ntfs
