#include "common/ntfs/lzx.h"

#include <fmt/format.h>

#include <utility>

#include "common/ntfs/huffman.h"

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kWindowBytes = 32768;
constexpr std::size_t kSlots = 30;  // sizes of distance that a window of 32 KiB has
constexpr std::size_t kMainSymbols = 256 + 8 * kSlots;
constexpr std::size_t kLengthSymbols = 249;
constexpr std::size_t kAlignedSymbols = 8;
constexpr std::size_t kPreSymbols = 20;
constexpr std::size_t kMinMatch = 2;
constexpr std::uint32_t kTranslatedBytes = 12'000'000;  // the file size that x86 calls are translated for

struct Slot {
  std::uint32_t base = 0;  // of the distance + 2
  unsigned extra_bits = 0;
};
constexpr std::array<Slot, kSlots> make_slots() {
  std::array<Slot, kSlots> slots{};
  std::uint32_t base = 0;
  for (std::size_t i = 0; i < kSlots; ++i) {
    const unsigned extra_bits = i < 4 ? 0 : static_cast<unsigned>(i / 2 - 1);
    slots[i] = {base, extra_bits};
    base += 1u << extra_bits;
  }
  return slots;
}
constexpr auto kSlotTable = make_slots();

// Calls (0xE8) have absolute targets in the compressed data; they become relative again. The last 10 bytes
// are left alone.
void translate_calls(MutableByteView data) {
  for (std::size_t i = 0; i + 10 < data.size(); ++i) {
    if (data[i] != std::byte{0xE8}) continue;
    const auto target = static_cast<std::int32_t>(load_le<std::uint32_t>(data, i + 1));
    const auto place = static_cast<std::int32_t>(i);
    if (target >= -place && target < static_cast<std::int32_t>(kTranslatedBytes)) {
      const auto relative =
          target >= 0 ? target - place : target + static_cast<std::int32_t>(kTranslatedBytes);
      store_le(data, i + 1, static_cast<std::uint32_t>(relative));
    }
    i += 4;
  }
}

class Decoder {
 public:
  Decoder(ByteView in, MutableByteView out) : bits_(in), out_(out) {}

  Result<void> run() {
    while (done_ < out_.size()) {
      const auto kind = bits_.take(3);
      std::size_t size = bits_.take(1) != 0 ? kWindowBytes : bits_.take(16);
      if (size == 0 || size > out_.size() - done_) return bad(fmt::format("a block of {} bytes", size));
      switch (kind) {
        case 1:
        case 2:
          RS_CHECK(read_codes(kind == 2));
          RS_CHECK(compressed_block(done_ + size, kind == 2));
          break;
        case 3:
          RS_CHECK(stored_block(size));
          break;
        default:
          return bad(fmt::format("a block of kind {}", kind));
      }
      if (bits_.overrun()) return bad("the input ended before");
    }
    translate_calls(out_);
    return {};
  }

 private:
  tl::unexpected<Error> bad(std::string_view what) const {
    return fail(ErrorCode::corrupt, fmt::format("LZX after {} bytes: {}", done_, what));
  }

  Result<void> read_codes(bool aligned) {
    if (aligned) {
      std::array<std::uint8_t, kAlignedSymbols> lengths{};
      for (auto& length : lengths) length = static_cast<std::uint8_t>(bits_.take(3));
      RS_CHECK(aligned_.build(lengths));
    }
    RS_CHECK(read_lengths(std::span(main_lengths_).first(256)));
    RS_CHECK(read_lengths(std::span(main_lengths_).subspan(256)));
    RS_CHECK(main_.build(main_lengths_));
    RS_CHECK(read_lengths(length_lengths_));
    return length_.build(length_lengths_);
  }

  // Lengths are told as differences from those of the block before, themselves in a code.
  Result<void> read_lengths(std::span<std::uint8_t> lengths) {
    std::array<std::uint8_t, kPreSymbols> pre_lengths{};
    for (auto& length : pre_lengths) length = static_cast<std::uint8_t>(bits_.take(4));
    HuffmanCode pre;
    RS_CHECK(pre.build(pre_lengths));
    const auto changed = [](std::uint8_t before, int symbol) {
      return static_cast<std::uint8_t>((before + 17 - symbol) % 17);
    };
    for (std::size_t i = 0; i < lengths.size();) {
      int symbol = pre.decode(bits_);
      if (symbol < 0) return bad("no such word in the code of lengths");
      if (symbol < 17) {
        lengths[i] = changed(lengths[i], symbol);
        ++i;
        continue;
      }
      std::size_t count = 0;
      std::uint8_t value = 0;
      if (symbol == 17) {
        count = 4 + bits_.take(4);
      } else if (symbol == 18) {
        count = 20 + bits_.take(5);
      } else {
        count = 4 + bits_.take(1);
        symbol = pre.decode(bits_);
        if (symbol < 0 || symbol > 16) return bad("a run of no length");
        value = changed(lengths[i], symbol);
      }
      for (; count > 0 && i < lengths.size(); --count) lengths[i++] = value;
    }
    return {};
  }

  Result<void> compressed_block(std::size_t end, bool aligned) {
    while (done_ < end) {
      const int symbol = main_.decode(bits_);
      if (symbol < 0) return bad("no such code word");
      if (symbol < 256) {
        out_[done_++] = static_cast<std::byte>(symbol);
        continue;
      }
      std::size_t length = (symbol - 256) % 8;
      if (length == 7) {
        const int more = length_.decode(bits_);
        if (more < 0) return bad("no such word in the code of match lengths");
        length += static_cast<std::size_t>(more);
      }
      length += kMinMatch;
      RS_TRY(const auto distance, take_distance(static_cast<std::size_t>(symbol - 256) / 8, aligned));
      if (distance == 0 || distance > done_ || length > end - done_)
        return bad(fmt::format("a match of {} bytes at distance {}", length, distance));
      for (std::size_t i = 0; i < length; ++i) out_[done_ + i] = out_[done_ + i - distance];
      done_ += length;
    }
    return {};
  }

  Result<std::size_t> take_distance(std::size_t slot, bool aligned) {
    if (slot < 3) {
      std::swap(recent_[0], recent_[slot]);
      return recent_[0];
    }
    const auto [base, extra_bits] = kSlotTable[slot];
    std::uint32_t distance = base - 2;
    if (aligned && extra_bits >= 3) {
      distance += bits_.take(extra_bits - 3) << 3;
      const int low = aligned_.decode(bits_);
      if (low < 0) return bad("no such word in the code of aligned distances");
      distance += static_cast<std::uint32_t>(low);
    } else {
      distance += bits_.take(extra_bits);
    }
    recent_ = {distance, recent_[0], recent_[1]};
    return distance;
  }

  Result<void> stored_block(std::size_t size) {
    const auto recent = bits_.take_bytes_aligned(12);
    if (recent.size() < 12) return bad("a stored block without its distances");
    for (std::size_t i = 0; i < 3; ++i) recent_[i] = load_le<std::uint32_t>(recent, i * 4);
    const auto bytes = bits_.take_bytes(size);
    if (bytes.size() < size) return bad("the input ended before");
    std::copy(bytes.begin(), bytes.end(), out_.begin() + static_cast<std::ptrdiff_t>(done_));
    done_ += size;
    if (size % 2 != 0) bits_.take_bytes(1);
    return {};
  }

  BitReader bits_;
  MutableByteView out_;
  std::size_t done_ = 0;
  std::array<std::uint32_t, 3> recent_{1, 1, 1};
  std::array<std::uint8_t, kMainSymbols> main_lengths_{};
  std::array<std::uint8_t, kLengthSymbols> length_lengths_{};
  HuffmanCode main_;
  HuffmanCode length_;
  HuffmanCode aligned_;
};

}  // namespace

Result<void> decompress_lzx(ByteView in, MutableByteView out) {
  if (out.size() > kWindowBytes)
    return fail(ErrorCode::invalid_argument, fmt::format("LZX: {} bytes in one chunk", out.size()));
  return Decoder(in, out).run();
}

}  // namespace roamstead::ntfs
