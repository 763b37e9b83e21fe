#include "common/ntfs/record.h"

#include <fmt/format.h>

namespace roamstead::ntfs {
namespace {

constexpr std::size_t kStride = 512;
constexpr std::size_t kHeaderBytes = 0x2A;
constexpr std::size_t kNumberAt = 0x2C;  // since NTFS 3.1, which moved the update sequence behind it
constexpr std::uint32_t kEnd = 0xFFFF'FFFF;

tl::unexpected<Error> bad(std::uint32_t offset, std::uint32_t type, std::string_view what) {
  return fail(ErrorCode::corrupt, fmt::format("attribute 0x{:x} at byte {}: {}", type, offset, what));
}

Result<void> parse_resident(ByteView bytes, AttributeView& attribute) {
  const auto length = load_le<std::uint32_t>(bytes, 16);
  const auto at = load_le<std::uint16_t>(bytes, 20);
  if (at > bytes.size() || length > bytes.size() - at)
    return bad(attribute.offset, attribute.type,
               fmt::format("a value of {} bytes at {} in an attribute of {}", length, at, bytes.size()));
  attribute.value = bytes.subspan(at, length);
  return {};
}

Result<void> parse_nonresident(ByteView bytes, AttributeView& attribute) {
  if (bytes.size() < 64)
    return bad(attribute.offset, attribute.type, "too short for one that is not resident");
  attribute.lowest_vcn = load_le<std::uint64_t>(bytes, 16);
  const auto highest_vcn = load_le<std::uint64_t>(bytes, 24);
  // highest_vcn is lowest_vcn - 1 (so -1 for an empty attribute) where there is no cluster.
  attribute.cluster_count = highest_vcn + 1 - attribute.lowest_vcn;
  if ((attribute.lowest_vcn | attribute.cluster_count) >> 62 != 0)
    return bad(attribute.offset, attribute.type,
               fmt::format("clusters {} to {}", attribute.lowest_vcn, highest_vcn));
  const auto pairs_at = load_le<std::uint16_t>(bytes, 32);
  if (pairs_at < 64 || pairs_at > bytes.size())
    return bad(attribute.offset, attribute.type, fmt::format("mapping pairs at {}", pairs_at));
  attribute.value = bytes.subspan(pairs_at);
  attribute.compression_unit_shift = load_le<std::uint8_t>(bytes, 34);
  attribute.allocated_bytes = load_le<std::uint64_t>(bytes, 40);
  attribute.size_bytes = load_le<std::uint64_t>(bytes, 48);
  attribute.valid_bytes = load_le<std::uint64_t>(bytes, 56);
  return {};
}

// `bytes` is the attribute, at least 24 bytes.
Result<void> parse_attribute(ByteView bytes, AttributeView& attribute) {
  const auto form = load_le<std::uint8_t>(bytes, 8);
  const std::size_t name_bytes = load_le<std::uint8_t>(bytes, 9) * std::size_t{2};
  const auto name_at = load_le<std::uint16_t>(bytes, 10);
  if (name_bytes != 0 && (name_at > bytes.size() || name_bytes > bytes.size() - name_at))
    return bad(attribute.offset, attribute.type, "its name leaves it");
  if (name_bytes != 0) attribute.name = bytes.subspan(name_at, name_bytes);
  attribute.flags = load_le<std::uint16_t>(bytes, 12);
  attribute.id = load_le<std::uint16_t>(bytes, 14);
  attribute.resident = form == 0;
  if (form > 1) return bad(attribute.offset, attribute.type, fmt::format("form {}", form));
  return attribute.resident ? parse_resident(bytes, attribute) : parse_nonresident(bytes, attribute);
}

}  // namespace

Result<void> apply_fixups(MutableByteView structure) {
  const auto sequence_at = load_le<std::uint16_t>(structure, 4);
  const auto count = load_le<std::uint16_t>(structure, 6);
  const auto sectors = structure.size() / kStride;
  if (count != sectors + 1 || sequence_at % 2 != 0 || sequence_at + std::size_t{count} * 2 > kStride - 2)
    return fail(ErrorCode::corrupt, fmt::format("an update sequence of {} numbers at byte {} for {} sectors",
                                                count, sequence_at, sectors));
  const auto number = load_le<std::uint16_t>(structure, sequence_at);
  for (std::size_t i = 1; i <= sectors; ++i)
    if (const auto found = load_le<std::uint16_t>(structure, i * kStride - 2); found != number)
      return fail(ErrorCode::corrupt,
                  fmt::format("torn: sector {} ends in update sequence number 0x{:04x}, expected 0x{:04x}",
                              i - 1, found, number));
  for (std::size_t i = 1; i <= sectors; ++i)
    store_le(structure, i * kStride - 2, load_le<std::uint16_t>(structure, sequence_at + i * 2));
  return {};
}

Result<RecordHeader> parse_record_header(ByteView record, std::uint64_t number) {
  if (record.size() < kStride) return fail(ErrorCode::invalid_argument, "shorter than any MFT record");
  const auto signature = as_text(record.first(4));
  if (signature == "BAAD") return fail(ErrorCode::corrupt, "marked as torn (BAAD)");
  if (signature != "FILE") {
    RecordHeader unused;
    if (all_zero(record)) return unused;  // never used
    return fail(ErrorCode::corrupt,
                fmt::format("signature 0x{:08x}, expected FILE", load_le<std::uint32_t>(record)));
  }
  RecordHeader header;
  header.sequence = load_le<std::uint16_t>(record, 16);
  header.link_count = load_le<std::uint16_t>(record, 18);
  header.first_attribute = load_le<std::uint16_t>(record, 20);
  const auto flags = load_le<std::uint16_t>(record, 22);
  header.in_use = (flags & 1) != 0;
  header.directory = (flags & 2) != 0;
  header.bytes_in_use = load_le<std::uint32_t>(record, 24);
  if (const auto base = load_le<std::uint64_t>(record, 32); base != 0) header.base = to_reference(base);
  if (!header.in_use) return header;
  if (load_le<std::uint16_t>(record, 4) >= kNumberAt + 4 &&
      load_le<std::uint32_t>(record, kNumberAt) != (number & 0xFFFF'FFFF))
    return fail(ErrorCode::corrupt,
                fmt::format("says it is record {}", load_le<std::uint32_t>(record, kNumberAt)));
  return header;
}

Result<void> parse_attributes(ByteView record, const RecordHeader& header, std::vector<AttributeView>& out) {
  out.clear();
  if (header.bytes_in_use > record.size() || header.first_attribute < kHeaderBytes ||
      header.first_attribute % 8 != 0 || header.first_attribute > header.bytes_in_use)
    return fail(ErrorCode::corrupt, fmt::format("{} of {} bytes in use, attributes from byte {}",
                                                header.bytes_in_use, record.size(), header.first_attribute));
  auto offset = header.first_attribute;
  while (true) {
    const auto left = header.bytes_in_use - offset;
    if (left < 4) return fail(ErrorCode::corrupt, fmt::format("no end of the attributes at byte {}", offset));
    const auto type = load_le<std::uint32_t>(record, offset);
    if (type == kEnd) return {};
    const auto length = left < 24 ? 0 : load_le<std::uint32_t>(record, offset + 4);
    if (length < 24 || length % 8 != 0 || length > left)
      return bad(offset, type, fmt::format("{} bytes long with {} left", length, left));
    auto& attribute = out.emplace_back();
    attribute.type = type;
    attribute.offset = offset;
    RS_CHECK(parse_attribute(record.subspan(offset, length), attribute));
    offset += length;
  }
}

}  // namespace roamstead::ntfs
