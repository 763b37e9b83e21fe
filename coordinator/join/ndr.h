// The little of DCE/RPC's network data representation (C706, chapter 14; MS-RPCE 2.2.6) that blobs of an
// offline domain join are written in: NDR of 32 bits, little-endian, each object in a serialisation header of
// its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/guid.h"
#include "coordinator/join/secret.h"
#include "coordinator/join/sid.h"

namespace roamstead::join {

// Reads one serialised object, front to back, never past its end, however its lengths lie.
class NdrReader {
 public:
  // Checks the header in front of the object and the pointer to it.
  static Result<NdrReader> open(ByteView serialised);

  template <std::unsigned_integral T>
  Result<T> number() {
    RS_CHECK(align(sizeof(T)));
    return reader_.le<T>();
  }
  Result<bool> pointer();  // whether it points to something, which follows later
  Result<Guid> guid();
  // What a pointer points to, in the order of the pointers.
  Result<ByteView> wide_string();                        // UTF-16LE, its ending NUL taken off
  Result<ByteView> counted_string(std::uint16_t bytes);  // UNICODE_STRING's buffer
  Result<Sid> sid();
  Result<std::uint32_t> array();  // how many elements follow
  Result<ByteView> bytes(std::uint32_t count);

 private:
  explicit NdrReader(ByteView object) : reader_(object) {}
  Result<void> align(std::size_t to);
  ByteReader reader_;
};

// Writes one object. What it wrote is overwritten when it goes.
class NdrWriter {
 public:
  NdrWriter() { pointer(true); }

  template <std::unsigned_integral T>
  void number(T value) {
    align(sizeof(T));
    const auto at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    store_le<T>(bytes_, at, value);
  }
  void pointer(bool to_something);
  void odd_pointer() { number<std::uint32_t>(0xFFFFFFFF); }  // to something too, but not counted
  void guid(const Guid& guid) { append(guid.bytes); }
  void wide_string(ByteView utf16le);
  void counted_string(ByteView utf16le);
  void sid(const Sid& sid);
  void append(ByteView bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  // With the header, padded to a multiple of 8.
  SecretBytes serialised() &&;

 private:
  void align(std::size_t to) { bytes_.resize((bytes_.size() + to - 1) / to * to); }
  SecretBytes bytes_;
  std::uint32_t referent_ = 0x00020000;
};

}  // namespace roamstead::join
