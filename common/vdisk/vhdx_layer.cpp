#include "common/vdisk/vhdx_layer.h"

#include <algorithm>
#include <bit>
#include <mutex>

namespace roamstead::vdisk::vhdx {

using State = BlockTable::State;

Result<std::unique_ptr<VhdxLayer>> VhdxLayer::open(os::FileSystem& files, const std::string& path,
                                                   Access access, bool fresh) {
  std::unique_ptr<VhdxLayer> layer(new VhdxLayer());
  layer->path_ = path;
  RS_TRY(layer->file_, files.open(path, os::OpenMode::read));
  const auto& file = *layer->file_;
  RS_TRY(layer->header_, read_header(file));
  if (!layer->header_.header.log_guid.is_zero())
    return fail(ErrorCode::unsupported,
                path +
                    ": its log holds changes not yet in place (it was not closed properly); "
                    "attach and detach it once on Windows, or run qemu-img check -r all on it");
  RS_TRY(layer->regions_, read_regions(file, layer->header_.header));
  RS_TRY(layer->metadata_, read_metadata(file, layer->regions_.metadata));
  if (layer->metadata_.has_parent && !layer->metadata_.locator.get_guid(kParentLinkage))
    return fail(ErrorCode::corrupt, path + ": its parent locator has no valid parent_linkage");
  RS_TRY(layer->table_, BlockTable::read(file, layer->metadata_, layer->regions_));
  if (access == Access::write) {
    RS_CHECK(layer->make_writable(files, false));
    layer->writing_ = fresh;
  }
  return layer;
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

std::uint64_t VhdxLayer::slice_offset(std::uint64_t block) const {
  auto bitmap = BlockTable::offset(table_.entries[table_.bitmap_index(block / table_.chunk_ratio)]);
  return bitmap + block % table_.chunk_ratio * slice_bytes();
}

// Under the exclusive lock.
Result<void> VhdxLayer::load_slice(std::uint64_t block) const {
  if (slices_.count(block) != 0) return {};
  Slice slice;
  slice.words.resize(slice_bytes() / 8);
  RS_CHECK(file_->read_exactly(slice_offset(block), std::as_writable_bytes(std::span(slice.words))));
  slices_.emplace(block, std::move(slice));
  return {};
}

Result<const VhdxLayer::Slice*> VhdxLayer::slice_of(std::uint64_t block,
                                                    std::shared_lock<std::shared_mutex>& lock) const {
  auto found = slices_.find(block);
  if (found == slices_.end()) {
    lock.unlock();
    {
      std::unique_lock exclusive(maps_mutex_);
      RS_CHECK(load_slice(block));
    }
    lock.lock();
    found = slices_.find(block);  // slices are never dropped
  }
  return &found->second;
}

Layer::Piece VhdxLayer::piece_of(const Slice& slice, std::uint64_t entry, std::uint64_t in_block,
                                 std::uint64_t length) const {
  auto first = in_block / kSectorBytes;
  auto end = (in_block + length + kSectorBytes - 1) / kSectorBytes;
  bool here = (slice.words[first / 64] >> (first % 64) & 1) != 0;
  auto sector = first;
  while (sector < end) {
    // Bits that differ from the first one, from `sector` on.
    auto differ = (here ? ~slice.words[sector / 64] : slice.words[sector / 64]) >> (sector % 64);
    if (differ != 0) {
      sector += static_cast<std::uint64_t>(std::countr_zero(differ));
      break;
    }
    sector += 64 - sector % 64;
  }
  auto run = std::min(std::min(sector, end) * kSectorBytes - in_block, length);
  if (here) return {Piece::Source::here, BlockTable::offset(entry) + in_block, run};
  return {Piece::Source::below, 0, run};
}

Result<Layer::Piece> VhdxLayer::lookup(std::uint64_t offset, std::uint64_t length) const {
  auto block = offset / table_.block_bytes;
  auto in_block = offset % table_.block_bytes;
  length = std::min(length, table_.block_bytes - in_block);
  std::shared_lock lock(maps_mutex_);
  auto entry = table_.entries[table_.payload_index(block)];
  switch (BlockTable::state(entry)) {
    case State::fully:
      return Piece{Piece::Source::here, BlockTable::offset(entry) + in_block, length};
    case State::not_present:
      return Piece{metadata_.has_parent ? Piece::Source::below : Piece::Source::zero, 0, length};
    case State::partially: {
      RS_TRY(const Slice* slice, slice_of(block, lock));
      // The state may have become `fully` while the bitmap was read; its bits are right all the same.
      return piece_of(*slice, entry, in_block, length);
    }
    default:
      return Piece{Piece::Source::zero, 0, length};
  }
}

Result<void> VhdxLayer::read_file(std::uint64_t file_offset, MutableByteView out) const {
  return file_->read_exactly(file_offset, out);
}

Result<RangeSet> VhdxLayer::extents() const {
  RangeSet held;
  for (std::uint64_t block = 0; block < table_.payload_blocks; ++block) {
    auto offset = block * table_.block_bytes;
    auto end = std::min(offset + table_.block_bytes, metadata_.virtual_bytes);
    {
      std::shared_lock lock(maps_mutex_);
      auto state = BlockTable::state(table_.entries[table_.payload_index(block)]);
      if (state == State::not_present) continue;
      if (state != State::partially) {
        held.add({offset, end - offset});
        continue;
      }
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
  return parent_reference(path_, metadata_.locator);
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
