// Byte buffers, integers in a stated byte order, and a bounded reader for foreign bytes.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace roamstead {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;
using MutableByteView = std::span<std::byte>;

static_assert(std::endian::native == std::endian::little,
              "a big-endian host needs byte swaps in load_le/store_le");

inline ByteView as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(ByteView view) { return Bytes(view.begin(), view.end()); }
inline Bytes to_bytes(std::string_view text) { return to_bytes(as_bytes(text)); }

template <std::unsigned_integral T>
T byte_swap(T value) {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

// The caller guarantees offset + sizeof(T) <= view.size(); use ByteReader for lengths that are not yet
// checked.
template <std::unsigned_integral T>
T load_le(ByteView view, std::size_t offset = 0) {
  T value;
  std::memcpy(&value, view.data() + offset, sizeof value);
  return value;
}
template <std::unsigned_integral T>
T load_be(ByteView view, std::size_t offset = 0) {
  return byte_swap(load_le<T>(view, offset));
}
template <std::unsigned_integral T>
void store_le(MutableByteView view, std::size_t offset, T value) {
  std::memcpy(view.data() + offset, &value, sizeof value);
}
template <std::unsigned_integral T>
void store_be(MutableByteView view, std::size_t offset, T value) {
  store_le<T>(view, offset, byte_swap(value));
}

inline bool all_zero(ByteView view) {
  std::size_t i = 0;
  for (; i + 8 <= view.size(); i += 8)
    if (load_le<std::uint64_t>(view, i) != 0) return false;
  for (; i < view.size(); ++i)
    if (view[i] != std::byte{0}) return false;
  return true;
}

// Reads integers and spans front to back, never past the end. The view must outlive the reader.
class ByteReader {
 public:
  explicit ByteReader(ByteView view) : view_(view) {}

  std::size_t offset() const { return offset_; }
  std::size_t remaining() const { return view_.size() - offset_; }

  template <std::unsigned_integral T>
  Result<T> le() {
    RS_TRY(ByteView part, take(sizeof(T)));
    return load_le<T>(part);
  }
  Result<ByteView> take(std::size_t count) {
    if (count > remaining())
      return fail(ErrorCode::corrupt, "ends early: " + std::to_string(count) + " bytes expected at offset " +
                                          std::to_string(offset_) + ", " + std::to_string(remaining()) +
                                          " there");
    auto part = view_.subspan(offset_, count);
    offset_ += count;
    return part;
  }

 private:
  ByteView view_;
  std::size_t offset_ = 0;
};

// Appends to a growing buffer.
class ByteWriter {
 public:
  template <std::unsigned_integral T>
  void le(T value) {
    auto at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    store_le<T>(bytes_, at, value);
  }
  void bytes(ByteView view) { bytes_.insert(bytes_.end(), view.begin(), view.end()); }
  std::size_t size() const { return bytes_.size(); }
  Bytes take() { return std::move(bytes_); }
  ByteView view() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace roamstead
