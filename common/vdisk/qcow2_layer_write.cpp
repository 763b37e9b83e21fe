// The writing half of Qcow2Layer.
//
// Until a flush has made them reachable, clusters that were written since lie in the file like leaked ones:
// the old tables do not lead to them. The steps of a flush, each durable before the next:
//  1. data; new L2 tables, new refcount blocks, a moved refcount table (nothing refers to them yet); counts
//     of new clusters in blocks that were there;
//  2. entries of the refcount table for new blocks, or the header for a moved table;
//  3. entries of L2 tables that were there, and of the L1 table.
#include <algorithm>
#include <mutex>

#include "common/vdisk/qcow2_layer.h"

namespace roamstead::vdisk::qcow2 {

using Source = Layer::Piece::Source;

namespace {

// Tables with changes in memory; beyond it a write flushes.
constexpr std::uint64_t kMaxDirtyBytes = 64u << 20;

}  // namespace

Result<void> Qcow2Layer::refuse_unsafe() const {
  if (header_.incompatible & kCorrupt)
    return bad(72, "the file is marked as corrupt; repair it with qemu-img check -r all before writing");
  if (header_.incompatible & kDirty)
    return bad(
        72,
        "the file was not closed properly and its refcounts may be wrong; repair it with qemu-img check "
        "-r all before writing",
        ErrorCode::unsupported);
  if (header_.snapshots != 0)
    return bad(60, std::to_string(header_.snapshots) + " internal snapshots; such a disk is only read",
               ErrorCode::unsupported);
  return {};
}

// Tables that lie on each other would be written into each other.
Result<void> Qcow2Layer::claim_tables() {
  metadata_.clear();
  metadata_.insert(0);
  auto l1_bytes = std::uint64_t{header_.l1_entries} * 8;
  for (std::uint64_t at = 0; at < l1_bytes; at += cluster_bytes_)
    metadata_.insert((header_.l1_offset + at) / cluster_bytes_);
  for (std::size_t i = 0; i < l1_.size(); ++i)
    if (auto offset = offset_of(l1_[i]); offset != 0 && !metadata_.insert(offset / cluster_bytes_).second)
      return bad(header_.l1_offset + i * 8,
                 "the L2 table at " + std::to_string(offset) + " lies on another table");
  RS_TRY(auto counts, Refcounts::read(*file_, header_, metadata_));
  refcounts_ = std::move(counts);
  return {};
}

Result<void> Qcow2Layer::make_writable(os::FileSystem& files, bool keep_id) {
  RS_CHECK(refuse_unsafe());
  RS_TRY(auto writer, files.open(info().path, os::OpenMode::read_write));
  if (!refcounts_) RS_CHECK(claim_tables());
  writer_ = std::move(writer);
  keep_id_ = keep_id;
  writing_ = false;
  return {};
}

Result<void> Qcow2Layer::write_fields() {
  header_.fields = header_.encode_fields();
  return writer_->write_at(0, header_.fields);
}

// Features that go with content we do not keep up to date, like QEMU's dirty bitmaps, are declared void
// before the first change, and the content gets a new id.
Result<void> Qcow2Layer::begin_writing() {
  RS_CHECK(refuse_header_change());
  if (writing_) return {};
  auto next = header_;
  if (!keep_id_ && header_.version >= 3)
    next.set_id(Guid::random());
  else
    next.autoclear &= kIdIsValid;
  if (next.autoclear != header_.autoclear || next.id() != header_.id()) {
    auto written = write_header(std::move(next));
    if (!written && written.error().code != ErrorCode::unsupported) return written;
    if (!written) {  // no room for an id
      std::unique_lock lock(maps_mutex_);
      header_.autoclear = 0;
      RS_CHECK(write_fields());
      RS_CHECK(writer_->sync());
    }
  }
  writing_ = true;
  return {};
}

Result<void> Qcow2Layer::write(std::uint64_t offset, ByteView data) {
  if (offset > virtual_bytes_ || data.size() > virtual_bytes_ - offset)
    return fail(ErrorCode::internal, path_ + ": a write beyond the end of the disk");
  RS_CHECK(begin_writing());
  unsynced_ = true;
  while (!data.empty()) {
    RS_TRY(auto run, find(offset, data.size()));
    auto part = data.first(run.piece.length);
    if (run.piece.source == Source::here)
      RS_CHECK(rewrite(run, part));
    else
      RS_CHECK(fill_clusters(offset, part));
    offset += part.size();
    data = data.subspan(part.size());
  }
  auto dirty = dirty_.size() * cluster_bytes_ + refcounts_->dirty_bytes();
  return dirty > kMaxDirtyBytes ? flush() : Result<void>{};
}

Result<void> Qcow2Layer::rewrite(const Run& run, ByteView data) {
  const auto& piece = run.piece;
  if (!run.own)
    return bad(piece.file_offset,
               "the cluster is shared by the L2 table's word; repair the file with qemu-img check -r all");
  for (auto cluster = piece.file_offset / cluster_bytes_;
       cluster * cluster_bytes_ < piece.file_offset + piece.length; ++cluster)
    if (metadata_.count(cluster) != 0)
      return bad(cluster * cluster_bytes_, "a cluster of the disk lies on a table");
  return writer_->write_at(piece.file_offset, data);
}

// The table is there, loaded and may be changed.
Result<void> Qcow2Layer::ensure_l2(std::uint64_t index) {
  if (offset_of(l1_[index]) != 0) {
    if (!(l1_[index] & kCopied))
      return bad(header_.l1_offset + index * 8,
                 "the L2 table is shared by the L1 table's word; repair the file with qemu-img check -r all");
    while (true) {
      RS_CHECK(load_l2(index));
      std::unique_lock lock(maps_mutex_);
      if (tables_[index] == nullptr) continue;  // a reader needed the room
      dirty_.try_emplace(index);                // now it stays
      return {};
    }
  }
  RS_TRY(auto cluster, refcounts_->allocate(*file_));
  auto table = std::make_unique<L2Table>();
  table->entries.resize(cluster_bytes_ / 8);
  metadata_.insert(cluster);
  std::unique_lock lock(maps_mutex_);
  drop_l2();
  tables_[index] = std::move(table);
  ++loaded_;
  l1_[index] = cluster * cluster_bytes_ | kCopied;
  dirty_[index] = {0, cluster_bytes_ / 8, true};
  return {};
}

// Where a cluster's data goes: a zero cluster may have its place already.
Result<std::uint64_t> Qcow2Layer::place_for(std::uint64_t entry, bool& allocated) {
  auto offset = offset_of(entry);
  allocated = offset == 0;
  if (allocated) {
    RS_TRY(auto cluster, refcounts_->allocate(*file_));
    return cluster * cluster_bytes_;
  }
  if (!(entry & kCopied) || metadata_.count(offset / cluster_bytes_) != 0)
    return bad(offset,
               "a zero cluster's place is used otherwise; repair the file with qemu-img check -r all");
  return offset;
}

// Whole clusters: what the disk's end cuts off is zero.
Result<void> Qcow2Layer::write_clusters(std::uint64_t place, ByteView data) {
  auto whole = data.first(data.size() - data.size() % cluster_bytes_);
  if (!whole.empty()) RS_CHECK(writer_->write_at(place, whole));
  if (whole.size() == data.size()) return {};
  auto last = to_bytes(data.subspan(whole.size()));
  last.resize(cluster_bytes_);
  return writer_->write_at(place + whole.size(), last);
}

void Qcow2Layer::set_entries(std::uint64_t offset, std::uint64_t place, std::uint64_t count) {
  auto index = l1_index(offset);
  auto first = offset % l2_covers_ / cluster_bytes_;
  std::unique_lock lock(maps_mutex_);
  auto& entries = tables_[index]->entries;
  end_of_file_ = std::max(end_of_file_.load(), place + count * cluster_bytes_);
  for (std::uint64_t i = 0; i < count; ++i) entries[first + i] = (place + i * cluster_bytes_) | kCopied;
  auto& dirty = dirty_[index];
  bool none = dirty.first == dirty.end;
  dirty.first = none ? first : std::min(dirty.first, first);
  dirty.end = none ? first + count : std::max(dirty.end, first + count);
}

// Clusters that the layer does not hold, all under one L2 table.
Result<void> Qcow2Layer::fill_clusters(std::uint64_t offset, ByteView data) {
  if (offset % cluster_bytes_ != 0 ||
      (data.size() % cluster_bytes_ != 0 && offset + data.size() != virtual_bytes_))
    return fail(ErrorCode::internal, path_ + ": " + std::to_string(data.size()) + " bytes at " +
                                         std::to_string(offset) + " are no whole clusters");
  auto index = l1_index(offset);
  RS_CHECK(ensure_l2(index));
  const auto& entries = tables_[index]->entries;
  while (!data.empty()) {
    // Clusters that get places one after the other are written at once.
    std::uint64_t place = 0, count = 0;
    auto all = (data.size() + cluster_bytes_ - 1) / cluster_bytes_;
    std::vector<std::uint64_t> allocated;
    auto first = offset % l2_covers_ / cluster_bytes_;
    Result<void> done;
    for (; count < all; ++count) {
      bool is_new = false;
      auto got = place_for(entries[first + count], is_new);
      if (!got) {
        done = fail(std::move(got).error());
        break;
      }
      if (is_new) allocated.push_back(*got / cluster_bytes_);
      if (count == 0) place = *got;
      if (*got != place + count * cluster_bytes_) {
        if (is_new) {
          RS_CHECK(refcounts_->release(*file_, *got / cluster_bytes_));
          allocated.pop_back();
        }
        break;
      }
    }
    auto part = data.first(std::min<std::uint64_t>(data.size(), count * cluster_bytes_));
    if (done) done = write_clusters(place, part);
    if (!done) {
      for (auto cluster = allocated.rbegin(); cluster != allocated.rend(); ++cluster)
        RS_CHECK(refcounts_->release(*file_, *cluster));
      return done;
    }
    set_entries(offset, place, count);
    offset += part.size();
    data = data.subspan(part.size());
  }
  return {};
}

namespace {

Bytes encode(std::span<const std::uint64_t> entries) {
  Bytes out(entries.size() * 8);
  for (std::size_t i = 0; i < entries.size(); ++i) store_be<std::uint64_t>(out, i * 8, entries[i]);
  return out;
}

}  // namespace

Result<void> Qcow2Layer::write_tables() {
  auto& file = *writer_;
  auto part_of = [&](std::uint64_t index, const Dirty& dirty) {
    return encode(std::span(tables_[index]->entries).subspan(dirty.first, dirty.end - dirty.first));
  };
  for (const auto& [index, dirty] : dirty_)
    if (dirty.is_new) RS_CHECK(file.write_at(offset_of(l1_[index]), part_of(index, dirty)));
  RS_CHECK(refcounts_->write_blocks(file));
  RS_CHECK(file.sync());
  if (refcounts_->moved()) {
    std::unique_lock lock(maps_mutex_);
    refcounts_->place_table(header_);
    RS_CHECK(write_fields());
    RS_CHECK(file.sync());
    RS_CHECK(refcounts_->forget_old_table(*file_));
  } else {
    RS_TRY(auto any, refcounts_->write_entries(file));
    if (any) RS_CHECK(file.sync());
  }
  if (dirty_.empty()) return {};
  for (const auto& [index, dirty] : dirty_) {
    if (!dirty.is_new)
      RS_CHECK(file.write_at(offset_of(l1_[index]) + dirty.first * 8, part_of(index, dirty)));
    else
      RS_CHECK(file.write_at(header_.l1_offset + index * 8, encode(std::span(l1_).subspan(index, 1))));
  }
  RS_CHECK(file.sync());
  std::unique_lock lock(maps_mutex_);
  dirty_.clear();
  return {};
}

Result<void> Qcow2Layer::flush() {
  if (broken_) return fail(ErrorCode::io, path_ + ": a flush failed before; open the disk again");
  if (!unsynced_) return {};
  if (writer_ == nullptr) return fail(ErrorCode::denied, path_ + ": opened for reading only");
  if (auto written = write_tables(); !written) {
    broken_ = true;
    return written;
  }
  unsynced_ = false;
  return {};
}

}  // namespace roamstead::vdisk::qcow2
