#include "common/vdisk/qcow2_refcounts.h"

#include "common/vdisk/qcow2_counter.h"

namespace roamstead::vdisk::qcow2 {
namespace {

constexpr std::size_t kKeptBlocks = 64;

}  // namespace

Result<Refcounts> Refcounts::read(const os::File& file, const Header& header,
                                  std::unordered_set<std::uint64_t>& metadata) {
  Refcounts counts;
  counts.path_ = file.path();
  counts.cluster_bits_ = header.cluster_bits;
  counts.order_ = header.refcount_order;
  counts.metadata_ = &metadata;
  auto cluster = header.cluster_bytes();
  RS_TRY(auto size, file.size());
  counts.next_ = (size + cluster - 1) / cluster;
  counts.place_ = {header.refcount_table_offset, header.refcount_table_clusters * cluster};
  auto refuse = [&](std::uint64_t offset, const std::string& what) {
    return fail(ErrorCode::corrupt, file.path() + ": at offset " + std::to_string(offset) + ": " + what);
  };
  for (std::uint32_t i = 0; i < header.refcount_table_clusters; ++i)
    if (!metadata.insert(counts.place_.offset / cluster + i).second)
      return refuse(counts.place_.offset, "the refcount table lies on other tables");
  Bytes table(counts.place_.length);
  RS_CHECK(file.read_exactly(counts.place_.offset, table));
  counts.table_.resize(table.size() / 8);
  for (std::size_t i = 0; i < counts.table_.size(); ++i) {
    auto offset = load_be<std::uint64_t>(table, i * 8);
    if (offset == 0) continue;
    auto where = counts.place_.offset + i * 8;
    if (offset % cluster != 0 || offset >= size)
      return refuse(where, "a refcount block is said to be at " + std::to_string(offset) +
                               "; a whole cluster within the file expected");
    if (!metadata.insert(offset / cluster).second)
      return refuse(where, "the refcount block at " + std::to_string(offset) + " lies on another table");
    counts.table_[i] = offset;
  }
  return counts;
}

Result<Refcounts::Block*> Refcounts::block(const os::File& file, std::uint64_t index) {
  if (auto found = blocks_.find(index); found != blocks_.end()) return &found->second;
  for (auto it = blocks_.begin(); blocks_.size() >= kKeptBlocks && it != blocks_.end();)
    it = dirty_blocks_.count(it->first) != 0 ? std::next(it) : blocks_.erase(it);
  Block block;
  block.content.resize(cluster_bytes());
  RS_TRY(auto count, file.read_at(table_[index], block.content));  // the file may end within its last cluster
  static_cast<void>(count);
  return &blocks_.emplace(index, std::move(block)).first->second;
}

Result<std::uint64_t> Refcounts::get(const os::File& file, std::uint64_t cluster) {
  auto index = cluster / per_block();
  if (index >= table_.size() || table_[index] == 0) return 0;
  RS_TRY(auto* found, block(file, index));
  return load_count(found->content, order_, cluster % per_block());
}

Result<void> Refcounts::set(const os::File& file, std::uint64_t cluster, std::uint64_t count) {
  RS_CHECK(cover(file, cluster));
  auto index = cluster / per_block();
  RS_TRY(auto* found, block(file, index));
  store_count(found->content, order_, cluster % per_block(), count);
  dirty_blocks_.insert(index);
  return {};
}

// The next cluster that is not counted.
Result<std::uint64_t> Refcounts::take(const os::File& file) {
  while (true) {
    RS_TRY(auto count, get(file, next_));
    if (count == 0) return next_++;
    ++next_;
  }
}

// Makes sure that there is a block for this cluster's count. A new block usually counts itself.
Result<void> Refcounts::cover(const os::File& file, std::uint64_t cluster) {
  auto index = cluster / per_block();
  while (index >= table_.size()) RS_CHECK(grow_table(file));
  if (table_[index] != 0) return {};
  RS_TRY(auto place, take(file));
  table_[index] = place << cluster_bits_;
  blocks_[index].content.assign(cluster_bytes(), std::byte{0});
  dirty_blocks_.insert(index);
  new_entries_.insert(index);
  metadata_->insert(place);
  return set(file, place, 1);
}

// To twice its size, elsewhere: behind the end in use, in one piece.
Result<void> Refcounts::grow_table(const os::File& file) {
  auto bytes = place_.length * 2;
  if (bytes > kMaxRefcountTableBytes)
    return fail(ErrorCode::full, path_ + ": its refcount table has its largest size; clusters of " +
                                     std::to_string(cluster_bytes()) + " bytes are too small for this disk");
  auto count = bytes >> cluster_bits_;
  RS_TRY(auto start, take(file));
  for (std::uint64_t i = 1; i < count; ++i) {
    RS_TRY(auto place, take(file));
    if (place == start + i) continue;
    start = place;
    i = 0;
  }
  old_table_.push_back(place_);
  place_ = {start << cluster_bits_, bytes};
  table_.resize(bytes / 8);
  for (std::uint64_t i = 0; i < count; ++i) {
    metadata_->insert(start + i);
    RS_CHECK(set(file, start + i, 1));
  }
  return {};
}

Result<std::uint64_t> Refcounts::allocate(const os::File& file) {
  RS_CHECK(cover(file, next_));
  RS_TRY(auto cluster, take(file));
  RS_CHECK(set(file, cluster, 1));
  return cluster;
}

Result<void> Refcounts::release(const os::File& file, std::uint64_t cluster) {
  RS_CHECK(set(file, cluster, 0));
  if (cluster + 1 == next_) --next_;
  return {};
}

Result<void> Refcounts::write_blocks(os::File& file) {
  for (auto index : dirty_blocks_) RS_CHECK(file.write_at(table_[index], blocks_[index].content));
  dirty_blocks_.clear();
  if (!moved()) return {};
  Bytes table(table_.size() * 8);
  for (std::size_t i = 0; i < table_.size(); ++i) store_be<std::uint64_t>(table, i * 8, table_[i]);
  new_entries_.clear();
  return file.write_at(place_.offset, table);
}

void Refcounts::place_table(Header& header) const {
  header.refcount_table_offset = place_.offset;
  header.refcount_table_clusters = static_cast<std::uint32_t>(place_.length >> cluster_bits_);
}

Result<bool> Refcounts::write_entries(os::File& file) {
  for (auto index : new_entries_) {
    Bytes entry(8);
    store_be<std::uint64_t>(entry, 0, table_[index]);
    RS_CHECK(file.write_at(place_.offset + index * 8, entry));
  }
  bool any = !new_entries_.empty();
  new_entries_.clear();
  return any;
}

Result<void> Refcounts::forget_old_table(const os::File& file) {
  for (auto old : std::exchange(old_table_, {}))
    for (auto offset = old.offset; offset < old.end(); offset += cluster_bytes()) {
      metadata_->erase(offset >> cluster_bits_);
      RS_CHECK(set(file, offset >> cluster_bits_, 0));
    }
  return {};
}

}  // namespace roamstead::vdisk::qcow2
