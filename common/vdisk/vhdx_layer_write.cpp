// The writing half of VhdxLayer. What keeps a crash harmless:
//  - a new block lies beyond the end in use; nothing refers to it until its payload, and the bitmap slice of
//  a partially
//    present one, are flushed;
//  - a bitmap bit is written only after the sector it vouches for is flushed;
//  - a block table entry or a bitmap bit lies within one sector, so each is the old or the new one, and any
//  mixture of
//    old and new ones is a valid disk.
#include <algorithm>
#include <bit>
#include <mutex>

#include "common/base/log.h"
#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk::vhdx {

using State = BlockTable::State;

Result<void> VhdxLayer::make_writable(os::FileSystem& files, bool keep_id) {
  RS_TRY(writer_, files.open(info().path, os::OpenMode::read_write));
  keep_id_ = keep_id;
  writing_ = false;
  return {};
}

Result<void> VhdxLayer::sync() {
  auto synced = writer_->sync();
  if (!synced) broken_ = true;
  return synced;
}

Result<void> VhdxLayer::set_locator(const ParentLocator& locator) {
  RS_CHECK(replace_locator(*writer_, regions_.metadata, locator));
  std::unique_lock lock(maps_mutex_);
  metadata_.locator = locator;
  return {};
}

Result<void> VhdxLayer::set_lineage(const Lineage& lineage) {
  auto locator = metadata_.locator;
  RS_CHECK(apply_lineage(lineage, locator));
  return set_locator(locator);
}

Result<void> VhdxLayer::set_id(const Guid& id) {
  auto current = header_;
  auto next = current.header;
  next.data_write_guid = id;
  auto updated = update_header(*writer_, current, next);
  if (!updated) broken_ = true;
  std::unique_lock lock(maps_mutex_);
  header_ = current;
  return updated;
}

// Before the first change: the file's ids are renewed, so that children of the old content notice, and what
// is left behind the end in use by a crash is cut off, so that new blocks begin as zeros.
Result<void> VhdxLayer::begin_writing() {
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  if (writer_ == nullptr) return fail(ErrorCode::denied, path_ + ": opened for reading only");
  if (writing_) return {};
  auto current = header_;
  auto next = current.header;
  next.file_write_guid = Guid::random();
  if (!keep_id_) next.data_write_guid = Guid::random();
  auto updated = update_header(*writer_, current, next);
  {
    std::unique_lock lock(maps_mutex_);
    header_ = current;
  }
  if (!updated) {
    broken_ = true;
    return updated;
  }
  RS_TRY(auto size, writer_->size());
  if (size > table_.end_of_file_use) RS_CHECK(writer_->truncate(table_.end_of_file_use));
  writing_ = true;
  return {};
}

Result<void> VhdxLayer::write(std::uint64_t offset, ByteView data) {
  RS_CHECK(begin_writing());
  unsynced_ = true;
  while (!data.empty()) {
    auto in_block = offset % table_.block_bytes;
    auto count = std::min<std::uint64_t>(data.size(), table_.block_bytes - in_block);
    RS_CHECK(write_block(offset / table_.block_bytes, in_block, data.first(count)));
    offset += count;
    data = data.subspan(count);
  }
  return {};
}

void VhdxLayer::mark(Slice& slice, std::uint64_t in_block, std::uint64_t length) {
  auto sector = in_block / kSectorBytes;
  auto end = (in_block + length) / kSectorBytes;
  while (sector < end) {
    auto bits = std::min<std::uint64_t>(64 - sector % 64, end - sector);
    auto mask = (bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1) << (sector % 64);
    slice.words[sector / 64] |= mask;
    sector += bits;
  }
}

Result<void> VhdxLayer::write_block(std::uint64_t block, std::uint64_t in_block, ByteView data) {
  auto entry = table_.entries[table_.payload_index(block)];
  auto state = BlockTable::state(entry);
  if (state == State::fully) return writer_->write_at(BlockTable::offset(entry) + in_block, data);
  if (state != State::partially) return allocate_block(block, in_block, data);
  {
    std::unique_lock lock(maps_mutex_);
    RS_CHECK(load_slice(block));
  }
  RS_CHECK(writer_->write_at(BlockTable::offset(entry) + in_block, data));
  std::unique_lock lock(maps_mutex_);
  mark(slices_.at(block), in_block, data.size());
  if (new_blocks_.count(block) == 0) dirty_slices_.insert(block);
  return {};
}

Result<void> VhdxLayer::grow(std::uint64_t length) {
  auto grown = writer_->truncate(table_.end_of_file_use + length);
  if (!grown) shrink_back(table_.end_of_file_use);
  return grown;
}

// After a failed write: what a later block finds there must be zeros.
void VhdxLayer::shrink_back(std::uint64_t length) {
  if (!writer_->truncate(length)) broken_ = true;
}

Result<void> VhdxLayer::allocate_bitmap(std::uint64_t chunk) {
  auto place = table_.end_of_file_use;
  RS_CHECK(grow(kMiB));
  std::unique_lock lock(maps_mutex_);
  table_.end_of_file_use += kMiB;
  table_.entries[table_.bitmap_index(chunk)] = place | State::fully;
  new_bitmaps_.insert(chunk);
  return {};
}

Result<void> VhdxLayer::allocate_block(std::uint64_t block, std::uint64_t in_block, ByteView data) {
  auto index = table_.payload_index(block);
  auto used =
      std::min<std::uint64_t>(table_.block_bytes, metadata_.virtual_bytes - block * table_.block_bytes);
  bool partial = metadata_.has_parent && BlockTable::state(table_.entries[index]) == State::not_present &&
                 data.size() < used;
  auto chunk = block / table_.chunk_ratio;
  if (partial && BlockTable::state(table_.entries[table_.bitmap_index(chunk)]) != State::fully)
    RS_CHECK(allocate_bitmap(chunk));
  auto place = table_.end_of_file_use;
  RS_CHECK(grow(table_.block_bytes));
  if (auto written = writer_->write_at(place + in_block, data); !written) {
    shrink_back(place);
    return written;
  }
  std::unique_lock lock(maps_mutex_);
  table_.end_of_file_use += table_.block_bytes;
  if (partial) {
    // What the file's bitmap says here is left over from a write that a crash undid: begin with none present.
    auto& slice = slices_[block];
    slice.words.assign(slice_bytes() / 8, 0);
    mark(slice, in_block, data.size());
  }
  table_.entries[index] = place | (partial ? State::partially : State::fully);
  new_blocks_.insert(block);
  return {};
}

Result<void> VhdxLayer::write_slice(std::uint64_t block, const Slice& slice) {
  return writer_->write_at(slice_offset(block), std::as_bytes(std::span(slice.words)));
}

Result<void> VhdxLayer::write_entries(const std::set<std::uint64_t>& indexes) {
  constexpr std::uint64_t kMaxGap = 64;  // rewriting a few entries in between is cheaper than another call
  for (auto it = indexes.begin(); it != indexes.end();) {
    auto first = *it;
    auto last = first;
    while (++it != indexes.end() && *it - last <= kMaxGap) last = *it;
    auto part = std::span(table_.entries).subspan(first, last - first + 1);
    RS_CHECK(writer_->write_at(regions_.bat.offset + first * 8, std::as_bytes(part)));
  }
  return {};
}

bool VhdxLayer::complete(std::uint64_t block, const Slice& slice) const {
  auto used =
      std::min<std::uint64_t>(table_.block_bytes, metadata_.virtual_bytes - block * table_.block_bytes);
  auto sectors = used / kSectorBytes;
  for (std::uint64_t i = 0; i < sectors / 64; ++i)
    if (slice.words[i] != ~std::uint64_t{0}) return false;
  auto rest = sectors % 64;
  return rest == 0 || (~slice.words[sectors / 64] & ((std::uint64_t{1} << rest) - 1)) == 0;
}

// Everything the maps are about to refer to is flushed by now.
Result<void> VhdxLayer::write_maps() {
  if (!new_bitmaps_.empty()) {
    // A partially present block without a bitmap block is no valid disk, so the bitmap's entry goes first,
    // alone.
    for (auto chunk : new_bitmaps_) {
      auto index = table_.bitmap_index(chunk);
      RS_CHECK(writer_->write_at(regions_.bat.offset + index * 8,
                                 std::as_bytes(std::span(table_.entries).subspan(index, 1))));
    }
    RS_CHECK(sync());
  }
  std::set<std::uint64_t> indexes;
  for (auto block : new_blocks_) indexes.insert(table_.payload_index(block));
  for (auto block : dirty_slices_) {
    auto& slice = slices_.at(block);
    if (!complete(block, slice)) {
      RS_CHECK(write_slice(block, slice));
      continue;
    }
    std::unique_lock lock(maps_mutex_);
    auto& entry = table_.entries[table_.payload_index(block)];
    entry = BlockTable::offset(entry) | State::fully;
    indexes.insert(table_.payload_index(block));
  }
  RS_CHECK(write_entries(indexes));
  return sync();
}

Result<void> VhdxLayer::flush() {
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  if (!unsynced_) return {};
  for (auto block : new_blocks_) {
    auto& entry = table_.entries[table_.payload_index(block)];
    if (BlockTable::state(entry) != State::partially) continue;
    if (const auto& slice = slices_.at(block); !complete(block, slice)) {
      RS_CHECK(write_slice(block, slice));
      continue;
    }
    std::unique_lock lock(maps_mutex_);
    entry = BlockTable::offset(entry) | State::fully;
  }
  RS_CHECK(sync());
  if (!new_blocks_.empty() || !new_bitmaps_.empty() || !dirty_slices_.empty()) {
    RS_CHECK(write_maps());
    new_blocks_.clear();
    new_bitmaps_.clear();
    dirty_slices_.clear();
  }
  unsynced_ = false;
  return {};
}

}  // namespace roamstead::vdisk::vhdx
