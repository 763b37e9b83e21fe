// How VhdxLayer changes block table, bitmaps and metadata of a file in use: first in the log, then in place.
//
// Our log holds one entry that counts, the newest. While the header names the log:
//  - what the entry refers to (payload, new blocks) is flushed before the entry is written;
//  - the entry is flushed before its pages are written in place;
//  - those are flushed, by the flush that comes before the next entry or before the log is closed, before the
//    entry ceases to count.
// So a flush of the disk takes two of the file, as it would without a log.
#include <mutex>

#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk::vhdx {

Result<void> VhdxLayer::sync() {
  auto synced = writer_->sync();
  if (!synced) broken_ = true;
  if (synced) header_.unsynced = false;
  return synced;
}

Result<void> VhdxLayer::change_header(const Header& next) {
  auto current = header_;
  auto updated = update_header(*writer_, current, next);
  if (!updated) broken_ = true;
  std::unique_lock lock(maps_mutex_);
  header_ = current;
  return updated;
}

// What the log held when the layer was opened is put in place.
Result<void> VhdxLayer::settle_log() {
  if (replayed_ == nullptr || replayed_->settled()) return {};
  RS_CHECK(replay_log(*writer_, replayed_->contents()));
  auto next = header_.header;
  next.file_write_guid = Guid::random();
  next.log_guid = {};
  RS_CHECK(change_header(next));
  replayed_->settle();
  return {};
}

// A file without a log gets one; so does one whose log is larger than anybody wants to replay.
Result<void> VhdxLayer::make_room_for_log(Header& next) {
  if (next.log_bytes != 0 && next.log_bytes <= kMaxLogBytes) return {};
  next.log_offset = table_.end_of_file_use;
  next.log_bytes = static_cast<std::uint32_t>(kMiB);
  RS_CHECK(grow(kMiB));
  table_.end_of_file_use += kMiB;
  return {};
}

// One entry, durable afterwards; so is everything written before.
Result<void> VhdxLayer::append_to_log(std::span<const LogPage> pages) {
  if (log_) {
    RS_CHECK(sync());
    RS_CHECK(log_->append(*writer_, pages, table_.end_of_file_use));
    RS_CHECK(sync());
    log_->appended();
    return {};
  }
  // Nobody looks at the log before the header names it, so payload and entry need no order among them.
  auto next = header_.header;
  RS_CHECK(make_room_for_log(next));
  next.log_guid = Guid::random();
  LogWriter log({next.log_offset, next.log_bytes}, next.log_guid);
  RS_CHECK(log.append(*writer_, pages, table_.end_of_file_use));
  RS_CHECK(sync());
  RS_CHECK(change_header(next));
  log.appended();
  log_ = log;
  return {};
}

Result<void> VhdxLayer::write_protected(std::span<const LogPage> pages) {
  while (!pages.empty()) {
    auto most = LogWriter({0, log_ ? log_->log().length : kMiB}, {}).max_pages();
    auto batch = pages.first(std::min(pages.size(), most));
    RS_CHECK(append_to_log(batch));
    for (const auto& page : batch) RS_CHECK(writer_->write_at(page.offset, page.content));
    pages = pages.subspan(batch.size());
  }
  return {};
}

Result<void> VhdxLayer::close_log() {
  if (!log_) return {};
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  RS_CHECK(sync());
  auto next = header_.header;
  next.log_guid = {};
  RS_CHECK(change_header(next));
  log_.reset();
  return {};
}

}  // namespace roamstead::vdisk::vhdx
