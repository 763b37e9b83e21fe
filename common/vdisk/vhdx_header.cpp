#include "common/vdisk/vhdx_header.h"

#include <algorithm>

#include "common/base/crc32c.h"

namespace roamstead::vdisk::vhdx {
namespace {

constexpr std::string_view kFileSignature = "vhdxfile";
constexpr std::string_view kHeaderSignature = "head";
constexpr std::string_view kRegionSignature = "regi";
constexpr std::size_t kMaxRegions = 2047;

const Guid kBatRegion = Guid::parse("2dc27766-f623-4200-9d64-115e9bfd4a08").value();
const Guid kMetadataRegion = Guid::parse("8b7ca206-4790-4b9a-b8fe-575f050f886e").value();

std::string at(const os::File& file, std::uint64_t offset) {
  return file.path() + ": at offset " + std::to_string(offset) + ": ";
}

// The checksum lies at byte 4 and counts as zero in its own sum.
std::uint32_t checksum(ByteView block) {
  constexpr std::array<std::byte, 4> kZero{};
  auto sum = crc32c(block.first(4));
  sum = crc32c(kZero, sum);
  return crc32c(block.subspan(8), sum);
}

void store_checksum(Bytes& block) { store_le<std::uint32_t>(block, 4, checksum(block)); }

bool valid(ByteView block, std::string_view signature) {
  return as_text(block.first(4)) == signature && load_le<std::uint32_t>(block, 4) == checksum(block);
}

Result<std::optional<Bytes>> read_valid(const os::File& file, std::uint64_t offset, std::size_t size,
                                        std::string_view signature) {
  Bytes block(size);
  RS_TRY(auto count, file.read_at(offset, block));
  if (count != size || !valid(block, signature)) return std::optional<Bytes>{};
  return std::optional<Bytes>(std::move(block));
}

Result<Header> parse_header(const os::File& file, std::uint64_t offset, ByteView block) {
  Header header;
  header.sequence = load_le<std::uint64_t>(block, 8);
  header.file_write_guid = Guid::from(block.subspan(16, 16));
  header.data_write_guid = Guid::from(block.subspan(32, 16));
  header.log_guid = Guid::from(block.subspan(48, 16));
  header.log_bytes = load_le<std::uint32_t>(block, 68);
  header.log_offset = load_le<std::uint64_t>(block, 72);
  if (auto version = load_le<std::uint16_t>(block, 66); version != 1)
    return fail(ErrorCode::unsupported,
                at(file, offset) + "VHDX version " + std::to_string(version) + ", only version 1 is known");
  if (auto version = load_le<std::uint16_t>(block, 64); version != 0 && !header.log_guid.is_zero())
    return fail(ErrorCode::unsupported, at(file, offset) + "a log of version " + std::to_string(version) +
                                            " with changes not yet in place, only version 0 is known");
  return header;
}

Result<void> check_place(const os::File& file, std::uint64_t file_bytes, std::uint64_t table_offset,
                         ByteRange range, const std::string& what) {
  if (range.offset < kFirstRegionOffset || range.offset % kMiB != 0 || range.length % kMiB != 0)
    return fail(ErrorCode::corrupt, at(file, table_offset) + what + " at " + std::to_string(range.offset) +
                                        " with " + std::to_string(range.length) +
                                        " bytes, whole MiB from 1 MiB on expected");
  if (range.offset > file_bytes || range.length > file_bytes - range.offset)
    return fail(ErrorCode::corrupt, at(file, table_offset) + what + " ends at " +
                                        std::to_string(range.end()) + ", beyond the file's end at " +
                                        std::to_string(file_bytes));
  return {};
}

Result<void> check_disjoint(const os::File& file, std::uint64_t table_offset,
                            std::vector<ByteRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(), [](auto a, auto b) { return a.offset < b.offset; });
  for (std::size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].offset < ranges[i - 1].end())
      return fail(ErrorCode::corrupt,
                  at(file, table_offset) + "regions overlap at " + std::to_string(ranges[i].offset));
  return {};
}

Result<Bytes> read_region_table(const os::File& file, std::uint64_t& offset) {
  for (auto place : kRegionTableOffsets) {
    offset = place;
    RS_TRY(auto block, read_valid(file, place, kRegionTableBytes, kRegionSignature));
    if (block) return std::move(*block);
  }
  return fail(ErrorCode::corrupt, at(file, kRegionTableOffsets[0]) + "neither region table is valid");
}

}  // namespace

Result<bool> has_signature(const os::File& file) {
  Bytes start(kFileSignature.size());
  RS_TRY(auto count, file.read_at(0, start));
  return count == start.size() && as_text(start) == kFileSignature;
}

Bytes encode_file_identifier() {
  Bytes block(520);
  std::memcpy(block.data(), kFileSignature.data(), kFileSignature.size());
  constexpr std::u16string_view kCreator = u"Roamstead";
  std::memcpy(block.data() + 8, kCreator.data(), kCreator.size() * 2);
  return block;
}

Result<bool> header_copy_is_valid(const os::File& file, std::size_t slot) {
  RS_TRY(auto block, read_valid(file, kHeaderOffsets[slot], kHeaderBytes, kHeaderSignature));
  return block.has_value();
}

Result<std::optional<Bytes>> read_region_copy(const os::File& file, std::size_t copy) {
  return read_valid(file, kRegionTableOffsets[copy], kRegionTableBytes, kRegionSignature);
}

Result<CurrentHeader> read_header(const os::File& file) {
  std::optional<CurrentHeader> current;
  for (std::size_t slot = 0; slot < kHeaderOffsets.size(); ++slot) {
    RS_TRY(auto block, read_valid(file, kHeaderOffsets[slot], kHeaderBytes, kHeaderSignature));
    if (!block) continue;
    RS_TRY(auto header, parse_header(file, kHeaderOffsets[slot], *block));
    if (current && current->header.sequence == header.sequence && !(current->header == header))
      return fail(ErrorCode::corrupt, at(file, kHeaderOffsets[slot]) + "both headers have sequence number " +
                                          std::to_string(header.sequence) + " but differ");
    if (!current || header.sequence > current->header.sequence) current = CurrentHeader{header, slot};
  }
  if (!current) return fail(ErrorCode::corrupt, at(file, kHeaderOffsets[0]) + "neither header is valid");
  current->unsynced = true;  // perhaps: whoever wrote it may have ended before a flush
  return *current;
}

Bytes encode_header(const Header& header) {
  Bytes block(kHeaderBytes);
  std::memcpy(block.data(), kHeaderSignature.data(), kHeaderSignature.size());
  store_le<std::uint64_t>(block, 8, header.sequence);
  std::copy(header.file_write_guid.bytes.begin(), header.file_write_guid.bytes.end(), block.begin() + 16);
  std::copy(header.data_write_guid.bytes.begin(), header.data_write_guid.bytes.end(), block.begin() + 32);
  std::copy(header.log_guid.bytes.begin(), header.log_guid.bytes.end(), block.begin() + 48);
  store_le<std::uint16_t>(block, 66, 1);
  store_le<std::uint32_t>(block, 68, header.log_bytes);
  store_le<std::uint64_t>(block, 72, header.log_offset);
  store_checksum(block);
  return block;
}

Result<void> update_header(os::File& file, CurrentHeader& current, Header next) {
  // The copy that is written over may be the only durable one.
  if (current.unsynced) RS_CHECK(file.sync());
  for (bool first : {true, false}) {
    auto slot = 1 - current.slot;
    next.sequence = current.header.sequence + 1;
    RS_CHECK(file.write_at(kHeaderOffsets[slot], encode_header(next)));
    if (first) RS_CHECK(file.sync());
    current = {next, slot, !first};
  }
  return {};
}

Result<Regions> read_regions(const os::File& file, const Header& header) {
  std::uint64_t offset = 0;
  RS_TRY(auto table, read_region_table(file, offset));
  RS_TRY(auto file_bytes, file.size());
  auto count = load_le<std::uint32_t>(table, 8);
  if (count > kMaxRegions)
    return fail(ErrorCode::corrupt,
                at(file, offset) + std::to_string(count) + " regions, at most 2047 expected");
  Regions regions;
  regions.all.push_back({0, kFirstRegionOffset});
  for (std::size_t i = 0; i < count; ++i) {
    auto entry = ByteView(table).subspan(16 + i * 32, 32);
    auto id = Guid::from(entry.first(16));
    ByteRange range{load_le<std::uint64_t>(entry, 16), load_le<std::uint32_t>(entry, 24)};
    bool required = (load_le<std::uint32_t>(entry, 28) & 1) != 0;
    bool known = id == kBatRegion || id == kMetadataRegion;
    if (!known && required)
      return fail(ErrorCode::unsupported, at(file, offset) + "needs the unknown region " + id.to_string());
    RS_CHECK(check_place(file, file_bytes, offset, range, "region " + id.to_string()));
    if (range.empty())
      return fail(ErrorCode::corrupt, at(file, offset) + "region " + id.to_string() + " is empty");
    regions.all.push_back(range);
    if (!known) continue;
    auto& place = id == kBatRegion ? regions.bat : regions.metadata;
    if (!place.empty())
      return fail(ErrorCode::corrupt, at(file, offset) + "region " + id.to_string() + " twice");
    place = range;
  }
  if (regions.bat.empty() || regions.metadata.empty())
    return fail(ErrorCode::corrupt, at(file, offset) + "block table and metadata regions expected");
  if (header.log_bytes != 0) {
    ByteRange log{header.log_offset, header.log_bytes};
    RS_CHECK(check_place(file, file_bytes, kHeaderOffsets[0], log, "the log"));
    regions.all.push_back(log);
  }
  RS_CHECK(check_disjoint(file, offset, regions.all));
  return regions;
}

Bytes encode_region_table(ByteRange bat, ByteRange metadata) {
  Bytes block(kRegionTableBytes);
  std::memcpy(block.data(), kRegionSignature.data(), kRegionSignature.size());
  store_le<std::uint32_t>(block, 8, 2);
  auto put = [&](std::size_t index, const Guid& id, ByteRange range) {
    auto at_byte = 16 + index * 32;
    std::copy(id.bytes.begin(), id.bytes.end(), block.begin() + static_cast<std::ptrdiff_t>(at_byte));
    store_le<std::uint64_t>(block, at_byte + 16, range.offset);
    store_le<std::uint32_t>(block, at_byte + 24, static_cast<std::uint32_t>(range.length));
    store_le<std::uint32_t>(block, at_byte + 28, 1);
  };
  put(0, kBatRegion, bat);
  put(1, kMetadataRegion, metadata);
  store_checksum(block);
  return block;
}

}  // namespace roamstead::vdisk::vhdx
