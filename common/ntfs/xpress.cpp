#include "common/ntfs/xpress.h"

#include <fmt/format.h>

#include "common/ntfs/huffman.h"

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kSymbols =
    512;  // 256 literals; matches: 4 bits of length, 4 bits of the distance's size
constexpr std::size_t kMinMatch = 3;

tl::unexpected<Error> bad(std::size_t done, std::string_view what) {
  return fail(ErrorCode::corrupt, fmt::format("XPRESS after {} bytes: {}", done, what));
}

}  // namespace

Result<void> decompress_xpress_huffman(ByteView in, MutableByteView out) {
  if (in.size() < kSymbols / 2) return bad(0, "no table of code lengths");
  std::array<std::uint8_t, kSymbols> lengths{};
  for (std::size_t i = 0; i < kSymbols; ++i)
    lengths[i] = static_cast<std::uint8_t>(std::to_integer<unsigned>(in[i / 2]) >> (i % 2 * 4) & 15);
  HuffmanCode code;
  RS_CHECK(code.build(lengths));
  BitReader bits(in.subspan(kSymbols / 2));
  for (std::size_t done = 0; done < out.size();) {
    const int symbol = code.decode(bits);
    if (symbol < 0) return bad(done, "no such code word");
    if (symbol < 256) {
      out[done++] = static_cast<std::byte>(symbol);
      continue;
    }
    std::size_t length = symbol & 15;
    const unsigned distance_bits = static_cast<unsigned>(symbol - 256) >> 4;
    if (length == 15) {
      length += bits.take_byte();
      if (length == 15 + 255) length = bits.take_word();
    }
    length += kMinMatch;
    const auto distance = (std::size_t{1} << distance_bits) + bits.take(distance_bits);
    if (distance > done || length > out.size() - done)
      return bad(done, fmt::format("a match of {} bytes at distance {}", length, distance));
    for (std::size_t i = 0; i < length; ++i) out[done + i] = out[done + i - distance];
    done += length;
  }
  if (bits.overrun()) return bad(out.size(), "the input ended before");
  return {};
}

}  // namespace roamstead::ntfs
