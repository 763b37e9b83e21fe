#include "common/ntfs/lznt1.h"

#include <fmt/format.h>

#include <algorithm>

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kChunkBytes = 4096;
constexpr std::uint16_t kSizeMask = 0x0FFF;
constexpr std::uint16_t kSignatureMask = 0x7000;
constexpr std::uint16_t kSignature = 0x3000;
constexpr std::uint16_t kCompressed = 0x8000;

tl::unexpected<Error> bad(std::size_t at, std::string_view what) {
  return fail(ErrorCode::corrupt, fmt::format("LZNT1 at byte {}: {}", at, what));
}

// One chunk's tokens into `out` (at most 4 KiB; a chunk at the end of a unit may be cut short by it). Gives
// the bytes made. `base` is where the chunk's data starts, for messages.
Result<std::size_t> decompress_chunk(ByteView in, MutableByteView out, std::size_t base) {
  std::size_t done = 0;
  unsigned length_bits =
      12;  // of a token's 16; the more of the chunk there is, the more bits for the distance
  std::size_t next_split = 16;
  for (std::size_t at = 0; at < in.size();) {
    auto flags = std::to_integer<unsigned>(in[at++]);
    for (int i = 0; i < 8 && at < in.size(); ++i, flags >>= 1) {
      if ((flags & 1) == 0) {
        if (done == out.size()) return bad(base + at, "more than a chunk's bytes");
        out[done++] = in[at++];
        continue;
      }
      if (in.size() - at < 2) return bad(base + at, "ends within a token");
      while (done > next_split) {
        next_split *= 2;
        --length_bits;
      }
      const auto token = load_le<std::uint16_t>(in, at);
      const std::size_t distance = (token >> length_bits) + std::size_t{1};
      const std::size_t length = (token & ((1u << length_bits) - 1)) + std::size_t{3};
      if (distance > done) return bad(base + at, "refers to what is before the chunk");
      if (length > out.size() - done) return bad(base + at, "more than a chunk's bytes");
      // Source and destination may overlap: that repeats what was just written.
      for (std::size_t k = 0; k < length; ++k) out[done + k] = out[done + k - distance];
      done += length;
      at += 2;
    }
  }
  return done;
}

}  // namespace

Result<void> decompress_lznt1(ByteView in, MutableByteView out) {
  std::size_t at = 0;
  while (!out.empty() && in.size() - at >= 2) {
    const auto header = load_le<std::uint16_t>(in, at);
    if (header == 0) break;
    const std::size_t length = (header & kSizeMask) + std::size_t{1};
    if ((header & kSignatureMask) != kSignature) return bad(at, fmt::format("chunk header 0x{:04x}", header));
    if (length > in.size() - at - 2)
      return bad(at, fmt::format("a chunk of {} bytes where {} are left", length, in.size() - at - 2));
    const auto data = in.subspan(at + 2, length);
    const auto chunk = out.first(std::min(out.size(), kChunkBytes));
    std::size_t done = 0;
    if ((header & kCompressed) != 0) {
      RS_TRY(done, decompress_chunk(data, chunk, at + 2));
    } else {
      if (length > chunk.size()) return bad(at, fmt::format("a stored chunk of {} bytes", length));
      std::copy(data.begin(), data.end(), chunk.begin());
      done = length;
    }
    std::fill(chunk.begin() + static_cast<std::ptrdiff_t>(done), chunk.end(), std::byte{0});
    out = out.subspan(chunk.size());
    at += 2 + length;
  }
  std::fill(out.begin(), out.end(), std::byte{0});
  return {};
}

}  // namespace roamstead::ntfs
