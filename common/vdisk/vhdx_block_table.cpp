#include <algorithm>

#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk::vhdx {
namespace {

std::uint64_t divide_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit; }

}  // namespace

std::string BlockTable::problem(std::uint64_t index, std::uint64_t file_bytes, ByteRange& claim) const {
  claim = {};
  auto value = entries[index];
  auto found = state(value);
  bool bitmap = is_bitmap(index);
  bool known = bitmap ? found == 0 || (found == fully && has_parent)
                      : found <= 3 || found == fully || (found == partially && has_parent);
  if (!known) return "has the state " + std::to_string(found) + ", not one of its kind";
  if (found < fully) return "";
  if ((value & 0xffff8) != 0) return "has reserved bits set";
  ByteRange range{offset(value), bitmap ? kMiB : block_bytes};
  if (range.offset < kFirstRegionOffset || range.offset > file_bytes ||
      range.length > file_bytes - range.offset)
    return "points to " + std::to_string(range.length) + " bytes at " + std::to_string(range.offset) +
           ", outside the file of " + std::to_string(file_bytes);
  claim = range;
  return "";
}

BlockTable BlockTable::empty(const Metadata& metadata) {
  BlockTable table;
  table.block_bytes = metadata.block_bytes;
  table.chunk_ratio = (std::uint64_t{1} << 23) * metadata.logical_sector_bytes / metadata.block_bytes;
  table.payload_blocks = divide_up(metadata.virtual_bytes, metadata.block_bytes);
  table.has_parent = metadata.has_parent;
  auto count = metadata.has_parent
                   ? divide_up(table.payload_blocks, table.chunk_ratio) * (table.chunk_ratio + 1)
                   : table.payload_blocks + (table.payload_blocks - 1) / table.chunk_ratio;
  table.entries.resize(count);
  return table;
}

Result<BlockTable> BlockTable::read_entries(const os::File& file, const Metadata& metadata,
                                            const Regions& regions) {
  // The region lies within the file, so what is allocated here is never more than the file holds.
  auto blocks = divide_up(metadata.virtual_bytes, metadata.block_bytes);
  if (blocks > regions.bat.length / 8)
    return fail(ErrorCode::corrupt, file.path() + ": at offset " + std::to_string(regions.bat.offset) +
                                        ": block table of " + std::to_string(regions.bat.length) +
                                        " bytes for " + std::to_string(blocks) + " blocks");
  auto table = empty(metadata);
  if (table.entries.size() > regions.bat.length / 8)
    return fail(ErrorCode::corrupt, file.path() + ": at offset " + std::to_string(regions.bat.offset) +
                                        ": block table of " + std::to_string(regions.bat.length) +
                                        " bytes, " + std::to_string(table.entries.size() * 8) + " expected");
  RS_CHECK(file.read_exactly(regions.bat.offset, std::as_writable_bytes(std::span(table.entries))));
  return table;
}

Result<BlockTable> BlockTable::read(const os::File& file, const Metadata& metadata, const Regions& regions) {
  RS_TRY(auto table, read_entries(file, metadata, regions));
  RS_TRY(auto file_bytes, file.size());
  auto claims = regions.all;
  for (std::uint64_t i = 0; i < table.entries.size(); ++i) {
    if (table.entries[i] == 0) continue;
    ByteRange range;
    if (auto problem = table.problem(i, file_bytes, range); !problem.empty())
      return fail(ErrorCode::corrupt, file.path() + ": at offset " +
                                          std::to_string(regions.bat.offset + i * 8) +
                                          ": block table entry " + std::to_string(i) + " " + problem);
    if (!range.empty()) claims.push_back(range);
  }
  std::sort(claims.begin(), claims.end(), [](auto a, auto b) { return a.offset < b.offset; });
  for (std::size_t i = 1; i < claims.size(); ++i)
    if (claims[i].offset < claims[i - 1].end())
      return fail(ErrorCode::corrupt, file.path() + ": at offset " + std::to_string(claims[i].offset) +
                                          ": claimed twice, by a block and another block or region");
  table.end_of_file_use = divide_up(claims.back().end(), kMiB) * kMiB;
  for (std::uint64_t block = 0; block < table.payload_blocks; ++block)
    if (state(table.entries[table.payload_index(block)]) == partially &&
        state(table.entries[table.bitmap_index(block / table.chunk_ratio)]) != fully)
      return fail(ErrorCode::corrupt, file.path() + ": block " + std::to_string(block) +
                                          " is partially present but its sector bitmap is absent");
  return table;
}

}  // namespace roamstead::vdisk::vhdx
