#include "common/vdisk/qcow2_layer.h"

#include <algorithm>
#include <mutex>

namespace roamstead::vdisk::qcow2 {

using Source = Layer::Piece::Source;

namespace {

// Of L2 tables in memory; those with changes come on top.
constexpr std::uint64_t kMaxLoadedBytes = 64u << 20;

}  // namespace

Result<std::unique_ptr<Qcow2Layer>> Qcow2Layer::open(os::FileSystem& files, const std::string& path,
                                                     Access access) {
  std::unique_ptr<Qcow2Layer> layer(new Qcow2Layer());
  layer->path_ = path;
  RS_TRY(layer->file_, files.open(path, os::OpenMode::read));
  RS_TRY(layer->header_, read_header(*layer->file_));
  layer->virtual_bytes_ = layer->header_.virtual_bytes;
  layer->cluster_bytes_ = static_cast<std::uint32_t>(layer->header_.cluster_bytes());
  layer->l2_covers_ = layer->header_.l2_covers();
  RS_TRY(layer->end_of_file_, layer->file_->size());
  RS_CHECK(layer->read_l1());
  if (access == Access::write) RS_CHECK(layer->make_writable(files, false));
  return layer;
}

tl::unexpected<Error> Qcow2Layer::bad(std::uint64_t offset, const std::string& what, ErrorCode code) const {
  return fail(code, file_->path() + ": at offset " + std::to_string(offset) + ": " + what);
}

Result<void> Qcow2Layer::read_l1() {
  Bytes table(l1_entries_for(virtual_bytes_, header_.cluster_bits) * 8);
  RS_CHECK(file_->read_exactly(header_.l1_offset, table));
  l1_.resize(table.size() / 8);
  tables_.resize(l1_.size());
  for (std::size_t i = 0; i < l1_.size(); ++i) {
    l1_[i] = load_be<std::uint64_t>(table, i * 8);
    auto offset = offset_of(l1_[i]);
    if (offset == 0) continue;
    if (offset % cluster_bytes_ != 0 || offset >= end_of_file_)
      return bad(header_.l1_offset + i * 8, "an L2 table is said to be at " + std::to_string(offset) +
                                                "; a whole cluster within the file expected");
  }
  return {};
}

LayerInfo Qcow2Layer::info() const {
  std::shared_lock lock(maps_mutex_);
  auto info = to_info(header_, path_);
  info.parent_path = parent_path_;
  return info;
}

// What keeps an entry from being read; empty when nothing.
std::string Qcow2Layer::problem(std::uint64_t entry) const {
  if (entry & kCompressed)
    return "the cluster is compressed, which is not supported; convert the disk with qemu-img";
  if ((entry & kZero) && header_.version < 3) return "a zero cluster in a file of version 2";
  auto offset = offset_of(entry);
  if (offset % cluster_bytes_ != 0 || (offset != 0 && offset >= end_of_file_))
    return "the cluster is said to be at " + std::to_string(offset) +
           "; a whole cluster within the file expected";
  return "";
}

Source Qcow2Layer::source(std::uint64_t entry) const {
  if (entry & kZero) return Source::zero;
  if (offset_of(entry) != 0) return Source::here;
  return header_.backing_place.offset != 0 ? Source::below : Source::zero;
}

// Makes room for one more, with tables_ locked.
void Qcow2Layer::drop_l2() const {
  auto most = std::max<std::uint64_t>(kMaxLoadedBytes / cluster_bytes_, 4);
  for (std::size_t looked_at = 0; loaded_ >= most && looked_at < tables_.size(); ++looked_at) {
    auto index = drop_from_++ % tables_.size();
    if (tables_[index] == nullptr || dirty_.count(index) != 0) continue;
    tables_[index].reset();
    --loaded_;
  }
}

Result<void> Qcow2Layer::load_l2(std::uint64_t index) const {
  std::unique_lock lock(maps_mutex_);
  if (tables_[index] != nullptr) return {};
  drop_l2();
  auto table = std::make_unique<L2Table>();
  table->entries.resize(cluster_bytes_ / 8);
  auto bytes = std::as_writable_bytes(std::span(table->entries));
  RS_TRY(auto count, file_->read_at(offset_of(l1_[index]), bytes));
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(count), bytes.end(), std::byte{0});
  for (auto& entry : table->entries) entry = byte_swap(entry);
  tables_[index] = std::move(table);
  ++loaded_;
  return {};
}

// Clusters one after the other of the same kind, and for data also in the file.
Result<Qcow2Layer::Run> Qcow2Layer::run_in(const L2Table& table, std::uint64_t offset,
                                           std::uint64_t length) const {
  auto in_cluster = offset % cluster_bytes_;
  auto index = offset % l2_covers_ / cluster_bytes_;
  auto entry = table.entries[index];
  if (auto text = problem(entry); !text.empty()) {
    auto where = offset_of(l1_[l1_index(offset)]) + index * 8;
    return bad(where, text + " (byte " + std::to_string(offset) + " of the disk)",
               entry & kCompressed ? ErrorCode::unsupported : ErrorCode::corrupt);
  }
  Run run;
  run.piece.source = source(entry);
  run.own = (entry & kCopied) != 0;
  bool here = run.piece.source == Source::here;
  if (here) run.piece.file_offset = offset_of(entry) + in_cluster;
  std::uint64_t end = cluster_bytes_ - in_cluster;
  for (auto place = offset_of(entry); end < length; end += cluster_bytes_) {
    auto next = table.entries[++index];
    place += cluster_bytes_;
    if (!problem(next).empty() || source(next) != run.piece.source) break;
    if (here && (offset_of(next) != place || ((next & kCopied) != 0) != run.own)) break;
  }
  run.piece.length = std::min(end, length);
  return run;
}

Result<Qcow2Layer::Run> Qcow2Layer::find(std::uint64_t offset, std::uint64_t length) const {
  auto index = l1_index(offset);
  length = std::min(length, l2_covers_ - offset % l2_covers_);
  while (true) {
    {
      std::shared_lock lock(maps_mutex_);
      if (const auto* table = tables_[index].get()) return run_in(*table, offset, length);
      if (offset_of(l1_[index]) == 0) return Run{{source(0), 0, length}, true};
    }
    RS_CHECK(load_l2(index));
  }
}

Result<Layer::Piece> Qcow2Layer::lookup(std::uint64_t offset, std::uint64_t length) const {
  RS_TRY(auto run, find(offset, length));
  return run.piece;
}

// The file may end within its last cluster; what is missing is zero.
Result<void> Qcow2Layer::read_file(std::uint64_t file_offset, MutableByteView out) const {
  RS_TRY(auto count, file_->read_at(file_offset, out));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(count), out.end(), std::byte{0});
  return {};
}

Result<RangeSet> Qcow2Layer::extents() const {
  RangeSet held;
  for (std::uint64_t index = 0; index < l1_.size(); ++index) {
    auto start = index * l2_covers_;
    while (true) {
      {
        std::shared_lock lock(maps_mutex_);
        if (const auto* table = tables_[index].get()) {
          for (std::uint64_t i = 0; i < table->entries.size(); ++i) {
            auto offset = start + i * cluster_bytes_;
            if ((table->entries[i] & ~kCopied) != 0 && offset < virtual_bytes_)
              held.add({offset, std::min<std::uint64_t>(cluster_bytes_, virtual_bytes_ - offset)});
          }
          break;
        }
        if (offset_of(l1_[index]) == 0) break;
      }
      RS_CHECK(load_l2(index));
    }
  }
  return held;
}

void Qcow2Layer::renamed(const std::string& path) {
  std::unique_lock lock(maps_mutex_);
  path_ = path;
}

void Qcow2Layer::reparented(const std::string& parent_path) {
  std::unique_lock lock(maps_mutex_);
  parent_path_ = parent_path;
}

}  // namespace roamstead::vdisk::qcow2
