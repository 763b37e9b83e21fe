// The writing half of VhdLayer. What keeps a crash harmless:
//  - a new block lies beyond the end in use; nothing refers to it until its payload and its bitmap are
//  flushed;
//  - a bitmap bit is written only after the sector it vouches for is flushed;
//  - a block table entry or a bitmap bit lies within one sector, so each is the old or the new one, and any
//    mixture of old and new ones is a valid disk;
//  - the footer at the file's start and the one at its end are changed one after the other, and both always
//    lead to a valid header.
#include <algorithm>
#include <mutex>

#include "common/base/log.h"
#include "common/vdisk/vhd_layer.h"

namespace roamstead::vdisk::vhd {
namespace {

// The first place from `end` on where the data behind a bitmap of this size begins on 4 KiB: as Windows does
// it, for disks with sectors of that size.
std::uint64_t block_place(std::uint64_t end, std::uint64_t bitmap_bytes) {
  constexpr std::uint64_t kAlignment = 4096;
  return (end + bitmap_bytes + kAlignment - 1) / kAlignment * kAlignment - bitmap_bytes;
}

}  // namespace

Result<void> VhdLayer::make_writable(os::FileSystem& files, bool keep_id) {
  auto path = info().path;
  if (first_outside_)
    return fail(ErrorCode::corrupt,
                path + ": block " + std::to_string(*first_outside_) + ", at offset " +
                    std::to_string(table_.bitmap_offset(*first_outside_)) +
                    ", lies beyond the end of the file; it can only be read (see disk check)");
  if (!is_fixed() && table_.offset % kSectorBytes != 0)
    return fail(ErrorCode::unsupported, path + ": its block table at offset " +
                                            std::to_string(table_.offset) +
                                            " does not begin with a sector; it can only be read");
  RS_TRY(writer_, files.open(path, os::OpenMode::read_write));
  keep_id_ = keep_id;
  writing_ = false;
  return {};
}

Result<void> VhdLayer::sync() {
  auto synced = writer_->sync();
  if (!synced) broken_ = true;
  return synced;
}

Result<void> VhdLayer::write_end_footer(std::uint64_t offset) {
  RS_CHECK(writer_->write_at(offset, footer_.bytes));
  std::unique_lock lock(maps_mutex_);
  footer_offset_ = offset;
  return {};
}

// Both, each durable before the next. At every moment one of them is valid, and whichever counts is the old
// or the new one.
Result<void> VhdLayer::write_footers(const Footer& footer) {
  auto write = [&](std::uint64_t offset) -> Result<void> {
    RS_CHECK(writer_->write_at(offset, footer.bytes));
    return writer_->sync();
  };
  Result<void> done;
  if (!is_fixed()) done = write(0);
  if (done) done = write(footer_offset_);
  if (!done) broken_ = true;
  std::unique_lock lock(maps_mutex_);
  footer_ = footer;
  return done;
}

Result<void> VhdLayer::set_id(const Guid& id) {
  auto footer = footer_;
  footer.set_id(id);
  return write_footers(footer);
}

// Before the first change: the id is renewed, so that children of the old content notice; what a crash left
// behind the end in use is cut off, so that new blocks begin as zeros; and both footers are made good.
Result<void> VhdLayer::begin_writing() {
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  if (writer_ == nullptr) return fail(ErrorCode::denied, path_ + ": opened for reading only");
  if (writing_) return {};
  auto footer = footer_;
  if (!keep_id_) footer.set_id(Guid::random());
  footer.bytes[84] = std::byte{0};  // a saved state of a machine does not fit what is written now
  footer.seal();
  if (is_fixed()) {
    RS_CHECK(write_footers(footer));
    writing_ = true;
    return {};
  }
  // The copy first and durably: from here on the end may be cut.
  RS_CHECK(writer_->write_at(0, footer.bytes));
  RS_CHECK(sync());
  {
    std::unique_lock lock(maps_mutex_);
    footer_ = footer;
  }
  auto end = table_.end_of_use;
  RS_TRY(auto size, writer_->size());
  if (size != end + kFooterBytes) {
    RS_CHECK(writer_->truncate(end));
    RS_CHECK(writer_->truncate(end + kFooterBytes));
  }
  RS_CHECK(write_end_footer(end));
  RS_CHECK(sync());
  writing_ = true;
  return {};
}

Result<void> VhdLayer::write(std::uint64_t offset, ByteView data) {
  RS_CHECK(begin_writing());
  unsynced_ = true;
  if (is_fixed()) return writer_->write_at(offset, data);
  while (!data.empty()) {
    auto in_block = offset % table_.block_bytes;
    auto count = std::min<std::uint64_t>(data.size(), table_.block_bytes - in_block);
    RS_CHECK(write_block(offset / table_.block_bytes, in_block, data.first(count)));
    offset += count;
    data = data.subspan(count);
  }
  return {};
}

void VhdLayer::mark(Bitmap& bitmap, std::uint64_t in_block, std::uint64_t length) {
  auto sector = in_block / kSectorBytes;
  auto end = (in_block + length) / kSectorBytes;
  while (sector < end) {
    auto bits = std::min<std::uint64_t>(64 - sector % 64, end - sector);
    auto mask = (bits == 64 ? ~std::uint64_t{0} : ~(~std::uint64_t{0} >> bits)) >> (sector % 64);
    bitmap.words[sector / 64] |= mask;
    sector += bits;
  }
  bitmap.dirty = true;
}

Result<void> VhdLayer::write_block(std::uint64_t block, std::uint64_t in_block, ByteView data) {
  if (!table_.present(block)) return allocate_block(block, in_block, data);
  {
    std::unique_lock lock(maps_mutex_);
    RS_CHECK(load_bitmap(block));
  }
  RS_CHECK(writer_->write_at(table_.data_offset(block) + in_block, data));
  std::unique_lock lock(maps_mutex_);
  if (known_[block] == Known::full) return {};
  RS_CHECK(load_bitmap(block));  // a reader may have dropped it meanwhile
  mark(bitmaps_.at(block), in_block, data.size());
  if (new_blocks_.count(block) == 0) dirty_bitmaps_.insert(block);
  return {};
}

Result<void> VhdLayer::allocate_block(std::uint64_t block, std::uint64_t in_block, ByteView data) {
  auto end = table_.end_of_use;
  auto place = block_place(end, table_.bitmap_bytes);
  auto new_end = place + table_.bitmap_bytes + table_.block_bytes;
  if (place / kSectorBytes >= kNoBlock)
    return fail(ErrorCode::full, path_ + ": a VHD file cannot grow beyond 2 TiB");
  auto grow = [&]() -> Result<void> {
    RS_CHECK(writer_->truncate(new_end + kFooterBytes));
    RS_CHECK(writer_->write_at(new_end, footer_.bytes));
    return writer_->write_at(place + table_.bitmap_bytes + in_block, data);
  };
  if (auto grown = grow(); !grown) {
    // What a later block finds there must be zeros; the footer at the old end is still there.
    if (!writer_->truncate(end + kFooterBytes)) broken_ = true;
    return grown;
  }
  std::unique_lock lock(maps_mutex_);
  footer_offset_ = new_end;
  table_.end_of_use = new_end;
  table_.sectors[block] = static_cast<std::uint32_t>(place / kSectorBytes);
  new_blocks_.insert(block);
  if (kind_ == LayerKind::dynamic || data.size() == table_.used_bytes(block)) {
    known_[block] = Known::full;  // of a dynamic disk: what was not written are zeros
    return {};
  }
  Bitmap bitmap;
  bitmap.words.resize(table_.bitmap_bytes / 8);
  mark(bitmap, in_block, data.size());
  bitmaps_[block] = std::move(bitmap);
  known_[block] = Known::in_map;
  return {};
}

Result<void> VhdLayer::write_bitmap(std::uint64_t block) {
  std::vector<std::uint64_t> words(table_.bitmap_bytes / 8, ~std::uint64_t{0});
  {
    std::shared_lock lock(maps_mutex_);  // readers load and drop other bitmaps
    if (known_[block] != Known::full) {
      const auto& bitmap = bitmaps_.at(block);
      for (std::size_t i = 0; i < words.size(); ++i) words[i] = byte_swap(bitmap.words[i]);
    }
  }
  return writer_->write_at(table_.bitmap_offset(block), std::as_bytes(std::span(words)));
}

Result<void> VhdLayer::write_entries(const std::set<std::uint64_t>& blocks) {
  constexpr std::uint64_t kMaxGap = 64;  // rewriting a few entries in between is cheaper than another call
  std::vector<std::uint32_t> entries;
  for (auto it = blocks.begin(); it != blocks.end();) {
    auto first = *it;
    auto last = first;
    while (++it != blocks.end() && *it - last <= kMaxGap) last = *it;
    entries.clear();
    for (auto block = first; block <= last; ++block) entries.push_back(byte_swap(table_.sectors[block]));
    RS_CHECK(writer_->write_at(table_.offset + first * 4, std::as_bytes(std::span(entries))));
  }
  return {};
}

Result<void> VhdLayer::flush() {
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  if (!unsynced_) return {};
  for (auto block : new_blocks_) RS_CHECK(write_bitmap(block));
  RS_CHECK(sync());
  if (!new_blocks_.empty() || !dirty_bitmaps_.empty()) {
    for (auto block : dirty_bitmaps_) RS_CHECK(write_bitmap(block));
    RS_CHECK(write_entries(new_blocks_));
    RS_CHECK(sync());
    std::unique_lock lock(maps_mutex_);
    for (const auto* set : {&new_blocks_, &dirty_bitmaps_})
      for (auto block : *set) {
        auto found = bitmaps_.find(block);
        if (found == bitmaps_.end()) continue;
        found->second.dirty = false;
        if (!complete(block, found->second)) continue;
        known_[block] = Known::full;
        bitmaps_.erase(found);
      }
    new_blocks_.clear();
    dirty_bitmaps_.clear();
  }
  unsynced_ = false;
  return {};
}

// The first gap of whole sectors between what is in use, or the end in use.
std::uint64_t VhdLayer::free_place(std::uint64_t length) const {
  auto claims = table_.claims(footer_, locators_);
  claims.push_back({kUsualHeaderOffset, kHeaderBytes});  // where the header goes back to
  std::sort(claims.begin(), claims.end(), [](auto a, auto b) { return a.offset < b.offset; });
  std::uint64_t end = 0;
  for (auto claim : claims) {
    if (claim.offset >= end && claim.offset - end >= length) return end;
    end = std::max(end, whole_sectors(claim.end()));
  }
  return end;
}

Result<void> VhdLayer::set_lineage(const Lineage& lineage) {
  RS_CHECK(begin_writing());
  RS_TRY(auto locators, to_locators(lineage, locators_, to_lineage(header_, locators_).parent_path));
  auto header = header_;
  bool same_path = lineage.parent_path == to_lineage(header_, locators_).parent_path;
  auto name = same_path ? header.parent_name() : os::base_name(lineage.parent_path);
  if (!same_path || lineage.parent_id != header.parent_id()) header.set_parent(lineage.parent_id, name);
  auto moved = move_header(header, locators);
  if (!moved) broken_ = true;
  return moved;
}

// The header takes two sectors, which a crash may tear, so it is never changed where it is in use: the new
// one is written elsewhere, the footers are turned to it, then it is written to its usual place and they are
// turned back, as there are readers that look nowhere else.
Result<void> VhdLayer::move_header(Header header, const std::vector<Locator>& locators) {
  bool usual_place_is_free = true;  // not so in files of some other programs
  for (auto claim : table_.claims(footer_, locators_))
    if (claim.offset != footer_.data_offset() &&
        !intersect(claim, {kUsualHeaderOffset, kHeaderBytes}).empty())
      usual_place_is_free = false;
  std::uint64_t length = kHeaderBytes;
  for (const auto& each : locators) length += whole_sectors(each.data.size());
  auto place = free_place(length);
  auto end = table_.end_of_use;
  bool grows = place + length > end;
  auto new_end = grows ? place + length : end;
  if (grows) {
    RS_CHECK(writer_->truncate(new_end + kFooterBytes));
    RS_CHECK(write_end_footer(new_end));
  }
  auto placed = locators;
  auto next = place + kHeaderBytes;
  for (std::size_t i = 0; i < kLocators; ++i) header.set_locator(i, 0, {});
  for (std::size_t i = 0; i < placed.size(); ++i) {
    placed[i].place = {next, placed[i].data.size()};
    Bytes padded(whole_sectors(placed[i].data.size()));
    std::copy(placed[i].data.begin(), placed[i].data.end(), padded.begin());
    RS_CHECK(writer_->write_at(next, padded));
    header.set_locator(i, placed[i].code, placed[i].place);
    next += padded.size();
  }
  header.seal();
  RS_CHECK(writer_->write_at(place, header.bytes));
  RS_CHECK(writer_->sync());
  auto footer = footer_;
  footer.set_data_offset(place);
  RS_CHECK(write_footers(footer));
  if (usual_place_is_free) {
    RS_CHECK(writer_->write_at(kUsualHeaderOffset, header.bytes));
    RS_CHECK(writer_->sync());
    footer.set_data_offset(kUsualHeaderOffset);
    RS_CHECK(write_footers(footer));
  }
  std::unique_lock lock(maps_mutex_);
  header_ = header;
  locators_ = std::move(placed);
  table_.end_of_use = new_end;
  return {};
}

}  // namespace roamstead::vdisk::vhd
