#include "coordinator/join/ndr.h"

namespace roamstead::join {
namespace {

// Version 1, little-endian, header of 8 bytes, filler.
constexpr std::uint64_t kCommonHeader = 0xCCCCCCCC00081001;
constexpr std::size_t kHeaders = 16;
constexpr std::uint32_t kMaxStringUnits = 4096;
constexpr std::uint32_t kMaxArray = 1024;

tl::unexpected<Error> ndr_corrupt(const std::string& what) { return fail(ErrorCode::corrupt, what); }

}  // namespace

Result<NdrReader> NdrReader::open(ByteView serialised) {
  if (serialised.size() < kHeaders || load_le<std::uint64_t>(serialised) != kCommonHeader)
    return ndr_corrupt("not a serialised object: its header is not 01 10 08 00 CC CC CC CC");
  const auto length = load_le<std::uint32_t>(serialised, 8);
  if (length > serialised.size() - kHeaders)
    return ndr_corrupt("a serialised object claims " + std::to_string(length) + " bytes of " +
                       std::to_string(serialised.size() - kHeaders));
  NdrReader reader(serialised.subspan(kHeaders, length));
  RS_TRY(const auto there, reader.pointer());
  if (!there) return ndr_corrupt("a serialised object is empty");
  return reader;
}

Result<void> NdrReader::align(std::size_t to) {
  const auto over = reader_.offset() % to;
  if (over != 0) RS_CHECK(reader_.take(to - over).map([](ByteView) {}));
  return {};
}

Result<bool> NdrReader::pointer() {
  RS_TRY(const auto referent, number<std::uint32_t>());
  return referent != 0;
}

Result<Guid> NdrReader::guid() {
  RS_CHECK(align(4));
  RS_TRY(const auto bytes, reader_.take(16));
  return Guid::from(bytes);
}

Result<ByteView> NdrReader::wide_string() {
  RS_TRY(const auto most, number<std::uint32_t>());
  RS_TRY(const auto offset, number<std::uint32_t>());
  RS_TRY(const auto actual, number<std::uint32_t>());
  if (offset != 0 || actual > most || actual > kMaxStringUnits || actual == 0)
    return ndr_corrupt("a string of " + std::to_string(actual) + " characters in room for " +
                       std::to_string(most) + " at " + std::to_string(offset));
  RS_TRY(const auto bytes, reader_.take(std::size_t{actual} * 2));
  if (load_le<std::uint16_t>(bytes, bytes.size() - 2) != 0) return ndr_corrupt("a string does not end");
  return bytes.first(bytes.size() - 2);
}

Result<ByteView> NdrReader::counted_string(std::uint16_t length) {
  RS_TRY(const auto most, number<std::uint32_t>());
  RS_TRY(const auto offset, number<std::uint32_t>());
  RS_TRY(const auto actual, number<std::uint32_t>());
  if (offset != 0 || actual > most || actual * std::uint64_t{2} != length || actual > kMaxStringUnits)
    return ndr_corrupt("a string of " + std::to_string(actual) + " characters where " +
                       std::to_string(length) + " bytes are announced");
  return reader_.take(length);
}

Result<Sid> NdrReader::sid() {
  RS_TRY(const auto parts, number<std::uint32_t>());
  if (parts > 15) return ndr_corrupt("a SID of " + std::to_string(parts) + " numbers");
  RS_TRY(const auto bytes, reader_.take(8 + 4 * std::size_t{parts}));
  return Sid::from(bytes);
}

Result<std::uint32_t> NdrReader::array() {
  RS_TRY(const auto count, number<std::uint32_t>());
  if (count > kMaxArray) return ndr_corrupt("an array of " + std::to_string(count) + " elements");
  return count;
}

Result<ByteView> NdrReader::bytes(std::uint32_t count) {
  RS_TRY(const auto announced, number<std::uint32_t>());
  if (announced != count)
    return ndr_corrupt("an array of " + std::to_string(announced) + " bytes where " + std::to_string(count) +
                       " are announced");
  return reader_.take(count);
}

void NdrWriter::pointer(bool to_something) {
  number<std::uint32_t>(to_something ? referent_ : 0);
  if (to_something) referent_ += 4;
}

void NdrWriter::wide_string(ByteView utf16le) {
  const auto units = static_cast<std::uint32_t>(utf16le.size() / 2 + 1);
  number(units);
  number<std::uint32_t>(0);
  number(units);
  append(utf16le);
  number<std::uint16_t>(0);
}

void NdrWriter::counted_string(ByteView utf16le) {
  const auto units = static_cast<std::uint32_t>(utf16le.size() / 2);
  number(units + 1);
  number<std::uint32_t>(0);
  number(units);
  append(utf16le);
}

void NdrWriter::sid(const Sid& sid) {
  number(static_cast<std::uint32_t>(sid.parts.size()));
  append(sid.to_bytes());
}

SecretBytes NdrWriter::serialised() && {
  align(8);
  SecretBytes whole(kHeaders + bytes_.size());
  store_le<std::uint64_t>(whole, 0, kCommonHeader);
  store_le<std::uint32_t>(whole, 8, static_cast<std::uint32_t>(bytes_.size()));
  std::copy(bytes_.begin(), bytes_.end(), whole.begin() + kHeaders);
  return whole;
}

}  // namespace roamstead::join
