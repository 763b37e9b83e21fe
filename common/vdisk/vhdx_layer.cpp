#include "common/vdisk/vhdx_layer.h"

#include <algorithm>
#include <bit>
#include <mutex>

namespace roamstead::vdisk::vhdx {

using State = BlockTable::State;

namespace {

std::uint64_t load_shared(const std::uint64_t& place) {
  return std::atomic_ref(const_cast<std::uint64_t&>(place)).load(std::memory_order_acquire);
}

}  // namespace

SliceTable::SliceTable(std::uint64_t blocks, std::uint64_t chunk_ratio)
    : chunk_ratio_(chunk_ratio), chunks_((blocks + chunk_ratio - 1) / chunk_ratio) {}

SliceTable::~SliceTable() {
  for (auto& chunk : chunks_) delete chunk.load();
}

SliceTable::Chunk::~Chunk() {
  for (auto& slice : slices) delete slice.load();
}

Slice* SliceTable::find(std::uint64_t block) const {
  const auto* chunk = chunks_[block / chunk_ratio_].load(std::memory_order_acquire);
  return chunk == nullptr ? nullptr : chunk->slices[block % chunk_ratio_].load(std::memory_order_acquire);
}

Slice& SliceTable::put(std::uint64_t block, std::unique_ptr<Slice> slice) {
  auto& place = chunks_[block / chunk_ratio_];
  if (place.load() == nullptr) place.store(new Chunk(chunk_ratio_), std::memory_order_release);
  auto* raw = slice.release();
  delete place.load()->slices[block % chunk_ratio_].exchange(raw, std::memory_order_acq_rel);
  return *raw;
}

Result<std::unique_ptr<VhdxLayer>> VhdxLayer::open(os::FileSystem& files, const std::string& path,
                                                   Access access, bool fresh) {
  std::unique_ptr<VhdxLayer> layer(new VhdxLayer());
  layer->path_ = path;
  RS_TRY(layer->file_, files.open(path, os::OpenMode::read));
  RS_TRY(layer->header_, read_header(*layer->file_));
  RS_TRY(layer->replayed_, open_replayed(*layer->file_, layer->header_.header));
  layer->reader_ =
      layer->replayed_ ? static_cast<const os::File*>(layer->replayed_.get()) : layer->file_.get();
  const auto& file = *layer->reader_;
  RS_TRY(layer->regions_, read_regions(file, layer->header_.header));
  RS_TRY(layer->metadata_, read_metadata(file, layer->regions_.metadata));
  if (layer->metadata_.has_parent && !layer->metadata_.locator.get_guid(kParentLinkage))
    return fail(ErrorCode::corrupt, path + ": at offset " + std::to_string(layer->metadata_.locator_at) +
                                        ": its parent locator has no valid parent_linkage");
  layer->sector_shift_ = static_cast<unsigned>(std::countr_zero(layer->metadata_.logical_sector_bytes));
  RS_TRY(layer->table_, BlockTable::read(file, layer->metadata_, layer->regions_));
  if (layer->metadata_.has_parent)
    layer->slices_ = SliceTable(layer->table_.payload_blocks, layer->table_.chunk_ratio);
  if (access == Access::write) {
    RS_CHECK(layer->make_writable(files, false));
    layer->writing_ = fresh;
  }
  return layer;
}

// Writes since the last flush are not owed to anybody; the log is closed so that other programs, some of
// which cannot replay one, find the file in order.
VhdxLayer::~VhdxLayer() {
  if (writer_ != nullptr) make_read_only();
}

LayerInfo VhdxLayer::info() const {
  std::shared_lock lock(maps_mutex_);
  LayerInfo info;
  info.path = path_;
  info.format = Format::vhdx;
  info.kind = metadata_.has_parent        ? LayerKind::differencing
              : metadata_.leave_allocated ? LayerKind::fixed
                                          : LayerKind::dynamic;
  info.virtual_bytes = metadata_.virtual_bytes;
  info.block_bytes = metadata_.block_bytes;
  info.id = header_.header.data_write_guid;
  if (metadata_.has_parent) info.parent_id = metadata_.locator.get_guid(kParentLinkage).value_or(Guid{});
  info.parent_path = parent_path_;
  return info;
}

std::uint64_t VhdxLayer::entry(std::uint64_t index) const { return load_shared(table_.entries[index]); }

std::uint64_t VhdxLayer::slice_offset(std::uint64_t block) const {
  auto bitmap = BlockTable::offset(entry(table_.bitmap_index(block / table_.chunk_ratio)));
  return bitmap + block % table_.chunk_ratio * slice_bytes();
}

std::uint64_t VhdxLayer::used_bytes(std::uint64_t block) const {
  return std::min<std::uint64_t>(table_.block_bytes, metadata_.virtual_bytes - block * table_.block_bytes);
}

// Of a block that is partially present in the file, or newly so.
Result<Slice*> VhdxLayer::slice_of(std::uint64_t block) const {
  if (auto* slice = slices_.find(block)) return slice;
  std::unique_lock lock(maps_mutex_);
  if (auto* slice = slices_.find(block)) return slice;
  auto slice = std::make_unique<Slice>();
  slice->words.resize((slice_bytes() + 7) / 8);
  auto bytes = std::as_writable_bytes(std::span(slice->words)).first(slice_bytes());
  RS_CHECK(reader_->read_exactly(slice_offset(block), bytes));
  return &slices_.put(block, std::move(slice));
}

Layer::Piece VhdxLayer::piece_of(const Slice& slice, std::uint64_t entry, std::uint64_t in_block,
                                 std::uint64_t length) const {
  auto first = in_block >> sector_shift_;
  auto end = ((in_block + length - 1) >> sector_shift_) + 1;
  auto word = load_shared(slice.words[first / 64]);
  bool here = (word >> (first % 64) & 1) != 0;
  auto sector = first;
  while (true) {
    // Bits that differ from the first one, from `sector` on.
    auto differ = (here ? ~word : word) >> (sector % 64);
    if (differ != 0) {
      sector += static_cast<std::uint64_t>(std::countr_zero(differ));
      break;
    }
    sector += 64 - sector % 64;
    if (sector >= end) break;
    word = load_shared(slice.words[sector / 64]);
  }
  auto run = std::min((std::min(sector, end) << sector_shift_) - in_block, length);
  if (here) return {Piece::Source::here, BlockTable::offset(entry) + in_block, run};
  return {Piece::Source::below, 0, run};
}

Result<Layer::Piece> VhdxLayer::lookup(std::uint64_t offset, std::uint64_t length) const {
  auto block = offset / table_.block_bytes;
  auto in_block = offset % table_.block_bytes;
  length = std::min(length, table_.block_bytes - in_block);
  auto found = entry(table_.payload_index(block));
  switch (BlockTable::state(found)) {
    case State::fully:
      return Piece{Piece::Source::here, BlockTable::offset(found) + in_block, length};
    case State::not_present:
      return Piece{metadata_.has_parent ? Piece::Source::below : Piece::Source::zero, 0, length};
    case State::partially: {
      RS_TRY(const Slice* slice, slice_of(block));
      // The state may have become `fully` while the bitmap was read; its bits are right all the same.
      return piece_of(*slice, found, in_block, length);
    }
    default:
      return Piece{Piece::Source::zero, 0, length};
  }
}

Result<void> VhdxLayer::read_file(std::uint64_t file_offset, MutableByteView out) const {
  return reader_->read_exactly(file_offset, out);
}

Result<RangeSet> VhdxLayer::extents() const {
  RangeSet held;
  for (std::uint64_t block = 0; block < table_.payload_blocks; ++block) {
    auto offset = block * table_.block_bytes;
    auto end = std::min(offset + table_.block_bytes, metadata_.virtual_bytes);
    auto state = BlockTable::state(entry(table_.payload_index(block)));
    if (state == State::not_present) continue;
    if (state != State::partially) {
      held.add({offset, end - offset});
      continue;
    }
    while (offset < end) {
      RS_TRY(auto piece, lookup(offset, end - offset));
      if (piece.source != Piece::Source::below) held.add({offset, piece.length});
      offset += piece.length;
    }
  }
  return held;
}

std::optional<ParentReference> VhdxLayer::parent() const {
  std::shared_lock lock(maps_mutex_);
  if (!metadata_.has_parent) return {};
  return parent_reference(path_, metadata_);
}

Lineage VhdxLayer::lineage() const {
  std::shared_lock lock(maps_mutex_);
  return to_lineage(metadata_.locator);
}

void VhdxLayer::renamed(const std::string& path) {
  std::unique_lock lock(maps_mutex_);
  path_ = path;
}

void VhdxLayer::reparented(const std::string& parent_path) {
  std::unique_lock lock(maps_mutex_);
  parent_path_ = parent_path;
}

}  // namespace roamstead::vdisk::vhdx
