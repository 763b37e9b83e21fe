// What XPRESS Huffman and LZX share: bits taken from 16-bit words, highest first, and canonical prefix codes.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "common/base/bytes.h"

namespace roamstead::ntfs {

// Reads bits from little-endian 16-bit words, the highest bit first; bytes between them are taken from where
// the next word would be. Past the end there are zeros, so that looking ahead is no error; overrun() tells
// whether any of them was consumed.
class BitReader {
 public:
  explicit BitReader(ByteView in) : in_(in) {}

  // The next `count` (at most 16) bits, not consumed.
  std::uint32_t peek(unsigned count) {
    fill();
    return count == 0 ? 0 : bits_ >> (32 - count);
  }
  void drop(unsigned count) {
    bits_ <<= count;
    left_ -= count;
    fill();  // as soon as fewer than 16 are left: that says where a byte in between lies
  }
  std::uint32_t take(unsigned count) {
    const auto value = peek(count);
    drop(count);
    return value;
  }
  // A byte, or a 16-bit number, from where the next word would be.
  std::uint32_t take_byte() { return take_between(1); }
  std::uint32_t take_word() { return take_between(2); }
  // Goes to the next 16-bit boundary, by at least one bit, and gives `count` bytes from there on; fewer when
  // the input ends. Further bytes follow, and bits after them.
  ByteView take_bytes_aligned(std::size_t count) {
    const auto bit = at_ * 8 + phantom_ - left_;
    at_ = std::min((bit / 16 + 1) * 2, in_.size());
    past_end_ |= overrun();
    bits_ = 0;
    left_ = phantom_ = 0;
    return take_bytes(count);
  }
  ByteView take_bytes(std::size_t count) {
    const auto part = in_.subspan(at_, std::min(count, in_.size() - at_));
    at_ += part.size();
    return part;
  }
  bool overrun() const { return past_end_ || phantom_ > left_; }

 private:
  void fill() {
    while (left_ < 16) {
      std::uint32_t word = 0;
      if (in_.size() - at_ >= 2) {
        word = load_le<std::uint16_t>(in_, at_);
        at_ += 2;
      } else {
        phantom_ += 16;
      }
      bits_ |= word << (16 - left_);
      left_ += 16;
    }
  }
  std::uint32_t take_between(std::size_t count) {
    fill();
    const auto part = take_bytes(count);
    past_end_ |= part.size() != count;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < part.size(); ++i) value |= std::to_integer<std::uint32_t>(part[i]) << (8 * i);
    return value;
  }

  ByteView in_;
  std::size_t at_ = 0;
  std::uint32_t bits_ = 0;   // the highest `left_` of them are there
  std::size_t left_ = 0;     // at most 32
  std::size_t phantom_ = 0;  // bits made up past the end
  bool past_end_ = false;
};

// A canonical code of up to 512 symbols with lengths of up to 16 bits. Codes without symbols may be left
// (an empty code, a single word); to meet one of them in the input is an error.
class HuffmanCode {
 public:
  static constexpr unsigned kMaxBits = 16;

  // ErrorCode::corrupt when there are more words than fit.
  Result<void> build(std::span<const std::uint8_t> lengths);
  // The next symbol, or -1 where the bits are no word.
  int decode(BitReader& bits) const {
    const auto next = bits.peek(kMaxBits);
    const auto quick = quick_[next >> (kMaxBits - kQuickBits)];
    if (quick != 0) {
      bits.drop(quick & 15);
      return quick >> 4;
    }
    return decode_long(bits, next);
  }

 private:
  static constexpr unsigned kQuickBits = 9;
  int decode_long(BitReader& bits, std::uint32_t next) const;

  std::array<std::uint16_t, 1u << kQuickBits> quick_{};  // symbol << 4 | length, 0: longer or none
  // By length: the first word after those of this length, aligned to 16 bits, and where its symbols start.
  std::array<std::uint32_t, kMaxBits + 1> limit_{};
  std::array<std::uint32_t, kMaxBits + 1> first_{};
  std::array<std::uint32_t, kMaxBits + 1> start_{};
  std::vector<std::uint16_t> symbols_;
};

}  // namespace roamstead::ntfs
