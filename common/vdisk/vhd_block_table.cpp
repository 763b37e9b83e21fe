#include <algorithm>

#include "common/vdisk/vhd_layer.h"

namespace roamstead::vdisk::vhd {

std::uint32_t BlockTable::bitmap_size(std::uint32_t block_bytes) {
  auto sectors = block_bytes / kSectorBytes;
  return static_cast<std::uint32_t>(whole_sectors((sectors + 7) / 8));
}

std::vector<ByteRange> BlockTable::claims(const Footer& footer, const std::vector<Locator>& locators) const {
  std::vector<ByteRange> claims{
      {0, kFooterBytes}, {footer.data_offset(), kHeaderBytes}, {offset, whole_sectors(sectors.size() * 4)}};
  for (const auto& each : locators) claims.push_back({each.place.offset, whole_sectors(each.place.length)});
  for (std::uint64_t block = 0; block < sectors.size(); ++block)
    if (present(block)) claims.push_back({bitmap_offset(block), std::uint64_t{bitmap_bytes} + block_bytes});
  std::sort(claims.begin(), claims.end(), [](auto a, auto b) { return a.offset < b.offset; });
  return claims;
}

Result<BlockTable> BlockTable::read(const os::File& file, const FoundFooter& found, const Header& header,
                                    const std::vector<Locator>& locators, std::uint64_t virtual_bytes) {
  BlockTable table;
  table.offset = header.table_offset();
  table.block_bytes = header.block_bytes();
  table.bitmap_bytes = bitmap_size(table.block_bytes);
  table.virtual_bytes = virtual_bytes;
  // That many entries lie within the file (vhd::virtual_bytes), so what is allocated here is never more than
  // the file holds.
  table.sectors.resize((virtual_bytes + table.block_bytes - 1) / table.block_bytes);
  table.outside.resize(table.sectors.size());
  RS_TRY(auto file_bytes, file.size());
  auto as_bytes = std::as_writable_bytes(std::span(table.sectors));
  RS_CHECK(file.read_exactly(table.offset, as_bytes));
  for (std::uint64_t block = 0; block < table.sectors.size(); ++block) {
    auto& sector = table.sectors[block];
    sector = byte_swap(sector);
    if (sector == kNoBlock) continue;
    auto needed = std::uint64_t{table.bitmap_bytes} + table.used_bytes(block);
    auto place = table.bitmap_offset(block);
    table.outside[block] = place > file_bytes || needed > file_bytes - place;
  }
  auto claims = table.claims(found.footer, locators);
  // The last block may end with the file where its disk ends within it.
  for (std::size_t i = 1; i < claims.size(); ++i)
    if (claims[i].offset < claims[i - 1].end())
      return fail(ErrorCode::corrupt,
                  file.path() + ": at offset " + std::to_string(claims[i].offset) +
                      ": claimed twice, by a block and by another block, the block table at offset " +
                      std::to_string(table.offset) + " or the header");
  table.end_of_use = whole_sectors(claims.back().end());
  return table;
}

}  // namespace roamstead::vdisk::vhd
