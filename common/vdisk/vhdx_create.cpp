#include "common/vdisk/vhdx_create.h"

#include <algorithm>

#include "common/base/text.h"
#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk::vhdx {
namespace {

constexpr std::uint64_t kLogBytes = kMiB;
// A child gets its bitmap blocks at once, sparse, 1 MiB for each 4 GiB of disk: readers exist that take an
// absent one for an empty file offset. Beyond 1 TiB of disk they are made when first needed.
constexpr std::uint64_t kMaxEarlyBitmaps = 256;
constexpr std::uint32_t kChildBlockBytes = 2u << 20;
constexpr std::size_t kMaxPathUnits = 32767;

std::uint64_t whole_mib(std::uint64_t bytes) { return (bytes + kMiB - 1) / kMiB * kMiB; }

// Where the file is new and all zero. A region's structures are small and the rest of it is zero: a thousand
// linked clones should not store that.
Result<void> write_sparsely(os::File& file, std::uint64_t offset, ByteView content) {
  constexpr std::size_t kPage = 4096;
  for (std::size_t at = 0; at < content.size(); at += kPage) {
    const auto page = content.subspan(at, std::min(kPage, content.size() - at));
    if (std::any_of(page.begin(), page.end(), [](std::byte byte) { return byte != std::byte{0}; }))
      RS_CHECK(file.write_at(offset + at, page));
  }
  return {};
}

}  // namespace

Result<Guid> create_file(os::FileSystem& files, const std::string& path, const Metadata& metadata) {
  RS_TRY(auto file, files.open(path, os::OpenMode::create_new));
  auto table = BlockTable::empty(metadata);
  ByteRange log{kFirstRegionOffset, kLogBytes};
  ByteRange metadata_region{log.end(), kMiB};
  ByteRange bat{metadata_region.end(), whole_mib(table.entries.size() * 8)};
  auto end = bat.end();
  auto chunks = metadata.has_parent ? (table.payload_blocks + table.chunk_ratio - 1) / table.chunk_ratio : 0;
  if (metadata.leave_allocated) {
    for (std::uint64_t block = 0; block < table.payload_blocks; ++block, end += table.block_bytes)
      table.entries[table.payload_index(block)] = end | BlockTable::fully;
    RS_CHECK(file->allocate(end));
    RS_CHECK(file->write_at(bat.offset, std::as_bytes(std::span(table.entries))));
  } else {
    auto early = chunks <= kMaxEarlyBitmaps ? chunks : 0;
    RS_CHECK(file->truncate(end + early * kMiB));
    for (std::uint64_t chunk = 0; chunk < early; ++chunk, end += kMiB) {
      Bytes entry(8);
      store_le<std::uint64_t>(entry, 0, end | BlockTable::fully);
      RS_CHECK(file->write_at(bat.offset + table.bitmap_index(chunk) * 8, entry));
    }
  }
  RS_CHECK(file->write_at(0, encode_file_identifier()));
  auto regions = encode_region_table(bat, metadata_region);
  for (auto offset : kRegionTableOffsets) RS_CHECK(write_sparsely(*file, offset, regions));
  RS_CHECK(write_sparsely(*file, metadata_region.offset, encode_metadata(metadata)));
  Header header;
  header.file_write_guid = Guid::random();
  header.data_write_guid = Guid::random();
  header.log_bytes = static_cast<std::uint32_t>(log.length);
  header.log_offset = log.offset;
  for (auto offset : kHeaderOffsets) {
    ++header.sequence;
    RS_CHECK(file->write_at(offset, encode_header(header)));
  }
  RS_CHECK(file->sync());
  return header.data_write_guid;
}

Result<Metadata> child_metadata(const Metadata& parent, const Guid& linkage,
                                const std::string& relative_path) {
  auto child = parent;
  child.block_bytes = std::min(parent.block_bytes, kChildBlockBytes);
  child.leave_allocated = false;
  child.has_parent = true;
  child.locator = {};
  child.locator.set_guid(std::string(kParentLinkage), linkage);
  RS_TRY(auto locator_path, to_locator_path(relative_path));
  child.locator.set(std::string(kRelativePath), locator_path);
  return child;
}

Result<std::string> to_locator_path(const std::string& relative_path) {
  auto text = relative_path.starts_with("../") ? relative_path : "./" + relative_path;
  auto units = to_utf16(text);
  if (!units || units->size() > kMaxPathUnits || text.find('\\') != std::string::npos)
    return fail(
        ErrorCode::invalid_argument,
        relative_path + ": a parent's path must be UTF-8 without backslashes, at most 32767 UTF-16 units");
  std::replace(text.begin(), text.end(), '/', '\\');
  return text;
}

}  // namespace roamstead::vdisk::vhdx
