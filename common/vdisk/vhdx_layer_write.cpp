// The writing half of VhdxLayer. What keeps a crash harmless:
//  - a new block lies beyond the end in use, and nothing in the file refers to it until its payload is
//  flushed;
//  - a bitmap bit is written only after the sector it vouches for is flushed;
//  - block table and bitmaps are changed through the log (vhdx_layer_log.cpp), bitmaps before the block table
//  where
//    they do not fit into one entry. Any mixture of old and new bits and entries is a valid disk.
#include <algorithm>
#include <bit>
#include <mutex>
#include <unordered_map>

#include "common/base/log.h"
#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk::vhdx {

using State = BlockTable::State;

namespace {

// Pages of the file with changes, in the order in which they were first touched.
class PageEdits {
 public:
  explicit PageEdits(const os::File& file) : file_(file) {}

  Result<void> put(std::uint64_t offset, ByteView data) {
    while (!data.empty()) {
      auto in_page = offset % kLogPageBytes;
      auto count = std::min<std::uint64_t>(data.size(), kLogPageBytes - in_page);
      auto [place, fresh] = index_.try_emplace(offset - in_page, pages_.size());
      if (fresh) {
        pages_.push_back({offset - in_page, Bytes(kLogPageBytes)});
        RS_CHECK(file_.read_exactly(offset - in_page, pages_.back().content));
      }
      std::copy_n(data.begin(), count,
                  pages_[place->second].content.begin() + static_cast<std::ptrdiff_t>(in_page));
      offset += count;
      data = data.subspan(count);
    }
    return {};
  }
  std::span<const LogPage> pages() const { return pages_; }

 private:
  const os::File& file_;
  std::unordered_map<std::uint64_t, std::size_t> index_;  // offset -> place in pages_
  std::vector<LogPage> pages_;
};

}  // namespace

void VhdxLayer::set_entry(std::uint64_t index, std::uint64_t value) {
  std::atomic_ref(table_.entries[index]).store(value, std::memory_order_release);
}

Result<void> VhdxLayer::make_writable(os::FileSystem& files, bool keep_id) {
  RS_TRY(writer_, files.open(info().path, os::OpenMode::read_write));
  keep_id_ = keep_id;
  writing_ = false;
  return settle_log();
}

void VhdxLayer::make_read_only() {
  if (writer_ == nullptr) return;
  // A log left open is replayed by whoever opens the file next.
  if (auto closed = close_log(); !closed)
    log_info("{}: its log stays open: {}", path_, closed.error().to_string());
  log_.reset();
  writer_.reset();
}

Result<void> VhdxLayer::set_locator(const ParentLocator& locator) {
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  RS_TRY(auto changes, change_locator(*reader_, regions_.metadata, locator));
  PageEdits edits(*reader_);
  for (const auto& change : changes) RS_CHECK(edits.put(change.offset, change.content));
  if (auto written = write_protected(edits.pages()); !written) {
    broken_ = true;  // the log may hold the new locator, and the file both
    return written;
  }
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
  auto next = header_.header;
  next.data_write_guid = id;
  return change_header(next);
}

// Before the first change: the file's ids are renewed, so that children of the old content notice, and what
// is left behind the end in use by a crash is cut off, so that new blocks begin as zeros.
Result<void> VhdxLayer::begin_writing() {
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  if (writer_ == nullptr) return fail(ErrorCode::denied, path_ + ": opened for reading only");
  if (writing_) return {};
  auto next = header_.header;
  next.file_write_guid = Guid::random();
  if (!keep_id_) next.data_write_guid = Guid::random();
  RS_CHECK(change_header(next));
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

void VhdxLayer::mark(Slice& slice, std::uint64_t in_block, std::uint64_t length) const {
  auto sector = in_block >> sector_shift_;
  auto end = (in_block + length) >> sector_shift_;
  while (sector < end) {
    auto bits = std::min<std::uint64_t>(64 - sector % 64, end - sector);
    auto mask = (bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1) << (sector % 64);
    std::atomic_ref(slice.words[sector / 64]).fetch_or(mask, std::memory_order_release);
    sector += bits;
  }
}

Result<void> VhdxLayer::write_block(std::uint64_t block, std::uint64_t in_block, ByteView data) {
  auto found = entry(table_.payload_index(block));
  auto state = BlockTable::state(found);
  if (state == State::fully) return writer_->write_at(BlockTable::offset(found) + in_block, data);
  if (state != State::partially) return allocate_block(block, in_block, data);
  RS_TRY(Slice * slice, slice_of(block));
  RS_CHECK(writer_->write_at(BlockTable::offset(found) + in_block, data));
  mark(*slice, in_block, data.size());
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
  table_.end_of_file_use += kMiB;
  set_entry(table_.bitmap_index(chunk), place | State::fully);
  new_bitmaps_.insert(chunk);
  return {};
}

Result<void> VhdxLayer::allocate_block(std::uint64_t block, std::uint64_t in_block, ByteView data) {
  auto index = table_.payload_index(block);
  bool partial = metadata_.has_parent && BlockTable::state(entry(index)) == State::not_present &&
                 data.size() < used_bytes(block);
  auto chunk = block / table_.chunk_ratio;
  if (partial && BlockTable::state(entry(table_.bitmap_index(chunk))) != State::fully)
    RS_CHECK(allocate_bitmap(chunk));
  auto place = table_.end_of_file_use;
  RS_CHECK(grow(table_.block_bytes));
  if (auto written = writer_->write_at(place + in_block, data); !written) {
    shrink_back(place);
    return written;
  }
  table_.end_of_file_use += table_.block_bytes;
  if (partial) {
    // What the file's bitmap says here is left over from a write that a crash undid: begin with none present.
    auto slice = std::make_unique<Slice>();
    slice->words.assign((slice_bytes() + 7) / 8, 0);
    mark(*slice, in_block, data.size());
    std::unique_lock lock(maps_mutex_);
    slices_.put(block, std::move(slice));
  }
  set_entry(index, place | (partial ? State::partially : State::fully));
  new_blocks_.insert(block);
  return {};
}

bool VhdxLayer::complete(std::uint64_t block, const Slice& slice) const {
  auto sectors = used_bytes(block) >> sector_shift_;
  for (std::uint64_t i = 0; i < sectors / 64; ++i)
    if (slice.words[i] != ~std::uint64_t{0}) return false;
  auto rest = sectors % 64;
  return rest == 0 || (~slice.words[sectors / 64] & ((std::uint64_t{1} << rest) - 1)) == 0;
}

Result<void> VhdxLayer::write_maps() {
  auto put_entry = [&](PageEdits& edits, std::uint64_t index) {
    return edits.put(regions_.bat.offset + index * 8,
                     std::as_bytes(std::span(table_.entries).subspan(index, 1)));
  };
  if (!new_bitmaps_.empty()) {
    // A partially present block without a bitmap block is no valid disk, so the bitmap's entry goes first,
    // alone.
    PageEdits edits(*reader_);
    for (auto chunk : new_bitmaps_) RS_CHECK(put_entry(edits, table_.bitmap_index(chunk)));
    RS_CHECK(write_protected(edits.pages()));
  }
  PageEdits edits(*reader_);
  std::set<std::uint64_t> indexes;
  for (const auto* blocks : {&new_blocks_, &dirty_slices_})
    for (auto block : *blocks) {
      auto index = table_.payload_index(block);
      if (blocks == &new_blocks_) indexes.insert(index);
      auto found = entry(index);
      if (BlockTable::state(found) != State::partially) continue;
      const auto& slice = *slices_.find(block);
      if (complete(block, slice)) {
        set_entry(index, BlockTable::offset(found) | State::fully);
        indexes.insert(index);
        continue;
      }
      auto bytes = std::as_bytes(std::span(slice.words)).first(slice_bytes());
      RS_CHECK(edits.put(slice_offset(block), bytes));
    }
  for (auto index : indexes) RS_CHECK(put_entry(edits, index));
  return write_protected(edits.pages());
}

Result<void> VhdxLayer::flush() {
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  if (!unsynced_) return {};
  if (new_blocks_.empty() && new_bitmaps_.empty() && dirty_slices_.empty()) {
    RS_CHECK(sync());
  } else {
    RS_CHECK(write_maps());
    new_blocks_.clear();
    new_bitmaps_.clear();
    dirty_slices_.clear();
  }
  unsynced_ = false;
  return {};
}

Result<void> VhdxLayer::end_writing() {
  RS_CHECK(flush());
  return close_log();
}

}  // namespace roamstead::vdisk::vhdx
