#include "common/vdisk/vhd_layer.h"

#include <algorithm>
#include <bit>
#include <mutex>

namespace roamstead::vdisk::vhd {
namespace {

// Bitmaps kept in memory; 512 bytes each with the usual blocks, so 32 MiB.
constexpr std::size_t kMaxBitmapBytes = 32u << 20;

}  // namespace

Result<std::unique_ptr<VhdLayer>> VhdLayer::open(os::FileSystem& files, const std::string& path,
                                                 Access access, const FileOptions& options) {
  std::unique_ptr<VhdLayer> layer(new VhdLayer());
  layer->path_ = path;
  RS_TRY(layer->file_, files.open(path, os::OpenMode::read));
  const auto& file = *layer->file_;
  RS_TRY(auto found, read_footer(file, options.ignore_checksum));
  layer->footer_ = found.footer;
  layer->footer_offset_ = found.offset;
  if (found.footer.type() == static_cast<std::uint32_t>(DiskType::fixed)) {
    RS_TRY(layer->virtual_bytes_, vhd::virtual_bytes(file, found, nullptr));
  } else {
    RS_TRY(layer->header_, read_header(file, found.footer, options.ignore_checksum));
    RS_TRY(layer->virtual_bytes_, vhd::virtual_bytes(file, found, &layer->header_));
    layer->kind_ = LayerKind::dynamic;
    if (found.footer.type() == static_cast<std::uint32_t>(DiskType::differencing)) {
      layer->kind_ = LayerKind::differencing;
      layer->locators_ = read_locators(file, layer->header_);
    }
    RS_TRY(layer->table_,
           BlockTable::read(file, found, layer->header_, layer->locators_, layer->virtual_bytes_));
    layer->known_.resize(layer->table_.sectors.size());
    const auto& outside = layer->table_.outside;
    if (const auto first = std::find(outside.begin(), outside.end(), true); first != outside.end())
      layer->first_outside_ = static_cast<std::uint64_t>(first - outside.begin());
  }
  if (access == Access::write) {
    if (options.ignore_checksum)
      return fail(ErrorCode::invalid_argument, path + ": wrong checksums are ignored for reading only");
    RS_CHECK(layer->make_writable(files, false));
    layer->writing_ = options.fresh;
  }
  return layer;
}

LayerInfo VhdLayer::info() const {
  std::shared_lock lock(maps_mutex_);
  LayerInfo info;
  info.path = path_;
  info.format = Format::vhd;
  info.kind = kind_;
  info.virtual_bytes = virtual_bytes_;
  info.block_bytes = table_.block_bytes;
  info.id = footer_.id();
  if (kind_ == LayerKind::differencing) info.parent_id = header_.parent_id();
  info.parent_path = parent_path_;
  return info;
}

Result<void> VhdLayer::outside_error(std::uint64_t block) const {
  return fail(ErrorCode::corrupt, path_ + ": at offset " + std::to_string(table_.offset + block * 4) +
                                      ": block " + std::to_string(block) + " is said to be at offset " +
                                      std::to_string(table_.bitmap_offset(block)) +
                                      ", beyond the end of the file; it was cut off, take it from a backup");
}

// Under the exclusive lock, as what follows to drop_bitmaps().
Result<void> VhdLayer::load_bitmap(std::uint64_t block) const {
  if (known_[block] != Known::no) return {};
  if (table_.outside[block]) return outside_error(block);
  drop_bitmaps();
  Bitmap bitmap;
  bitmap.words.resize(table_.bitmap_bytes / 8);
  RS_CHECK(file_->read_exactly(table_.bitmap_offset(block), std::as_writable_bytes(std::span(bitmap.words))));
  for (auto& word : bitmap.words) word = byte_swap(word);
  if (complete(block, bitmap)) {
    known_[block] = Known::full;
  } else {
    bitmaps_.emplace(block, std::move(bitmap));
    known_[block] = Known::in_map;
  }
  return {};
}

// Makes room when there are too many, by dropping all that can be read again.
void VhdLayer::drop_bitmaps() const {
  if (bitmaps_.size() * std::uint64_t{table_.bitmap_bytes} < kMaxBitmapBytes) return;
  for (auto it = bitmaps_.begin(); it != bitmaps_.end();) {
    if (it->second.dirty) {
      ++it;
      continue;
    }
    known_[it->first] = Known::no;
    it = bitmaps_.erase(it);
  }
}

bool VhdLayer::complete(std::uint64_t block, const Bitmap& bitmap) const {
  auto sectors = table_.used_bytes(block) / kSectorBytes;
  for (std::uint64_t i = 0; i < sectors / 64; ++i)
    if (bitmap.words[i] != ~std::uint64_t{0}) return false;
  auto rest = sectors % 64;
  return rest == 0 || (~bitmap.words[sectors / 64] >> (64 - rest)) == 0;
}

// Of a present block whose bitmap is known.
Layer::Piece VhdLayer::piece_of(std::uint64_t block, std::uint64_t in_block, std::uint64_t length) const {
  auto place = table_.data_offset(block) + in_block;
  if (known_[block] == Known::full) return {Piece::Source::here, place, length};
  const auto& words = bitmaps_.at(block).words;
  auto first = in_block / kSectorBytes;
  auto end = (in_block + length + kSectorBytes - 1) / kSectorBytes;
  bool here = (words[first / 64] << (first % 64) >> 63) != 0;
  auto sector = first;
  while (sector < end) {
    // Bits that differ from the first one, from `sector` on.
    auto differ = (here ? ~words[sector / 64] : words[sector / 64]) << (sector % 64);
    if (differ != 0) {
      sector += static_cast<std::uint64_t>(std::countl_zero(differ));
      break;
    }
    sector += 64 - sector % 64;
  }
  auto run = std::min(std::min(sector, end) * kSectorBytes - in_block, length);
  if (here) return {Piece::Source::here, place, run};
  // Of a dynamic disk: never written.
  return {kind_ == LayerKind::differencing ? Piece::Source::below : Piece::Source::zero, 0, run};
}

Result<Layer::Piece> VhdLayer::lookup(std::uint64_t offset, std::uint64_t length) const {
  if (is_fixed()) return Piece{Piece::Source::here, offset, length};
  auto block = offset / table_.block_bytes;
  auto in_block = offset % table_.block_bytes;
  length = std::min(length, table_.block_bytes - in_block);
  {
    std::shared_lock lock(maps_mutex_);
    if (!table_.present(block))
      return Piece{kind_ == LayerKind::differencing ? Piece::Source::below : Piece::Source::zero, 0, length};
    if (known_[block] != Known::no) return piece_of(block, in_block, length);
  }
  std::unique_lock lock(maps_mutex_);
  RS_CHECK(load_bitmap(block));
  return piece_of(block, in_block, length);
}

Result<void> VhdLayer::read_file(std::uint64_t file_offset, MutableByteView out) const {
  return file_->read_exactly(file_offset, out);
}

Result<RangeSet> VhdLayer::extents() const {
  RangeSet held;
  if (is_fixed()) {
    held.add({0, virtual_bytes_});
    return held;
  }
  for (std::uint64_t block = 0; block < table_.sectors.size(); ++block) {
    {
      std::shared_lock lock(maps_mutex_);
      if (!table_.present(block)) continue;
    }
    auto offset = block * table_.block_bytes;
    auto end = offset + table_.used_bytes(block);
    while (offset < end) {
      RS_TRY(auto piece, lookup(offset, end - offset));
      if (piece.source == Piece::Source::here) held.add({offset, piece.length});
      offset += piece.length;
    }
  }
  return held;
}

std::optional<ParentReference> VhdLayer::parent() const {
  std::shared_lock lock(maps_mutex_);
  if (kind_ != LayerKind::differencing) return {};
  return parent_reference(path_, header_, footer_.data_offset(), locators_);
}

Lineage VhdLayer::lineage() const {
  std::shared_lock lock(maps_mutex_);
  if (kind_ != LayerKind::differencing) return {};
  return to_lineage(header_, locators_);
}

void VhdLayer::renamed(const std::string& path) {
  std::unique_lock lock(maps_mutex_);
  path_ = path;
}

void VhdLayer::reparented(const std::string& parent_path) {
  std::unique_lock lock(maps_mutex_);
  parent_path_ = parent_path;
}

NewDisk VhdLayer::like_this() const {
  std::shared_lock lock(maps_mutex_);
  NewDisk disk;
  disk.virtual_bytes = virtual_bytes_;
  disk.block_bytes = is_fixed() ? kDefaultBlockBytes : table_.block_bytes;
  // The geometry too: a child that differs from its parent in size or geometry is refused by Windows.
  disk.like = footer_;
  return disk;
}

Result<std::unique_ptr<ImageLayer>> VhdLayer::create_child(os::FileSystem& files, const std::string& path,
                                                           const std::string& parent_path) const {
  auto disk = like_this();
  disk.type = DiskType::differencing;
  disk.parent_id = info().id;
  disk.parent_name = os::base_name(parent_path);
  Lineage lineage;
  lineage.parent_path = parent_path;
  RS_TRY(disk.locators, to_locators(lineage, {}, ""));
  RS_CHECK(create_file(files, path, disk));
  FileOptions options;
  options.fresh = true;
  return VhdLayer::open(files, path, Access::write, options);
}

Result<std::unique_ptr<ImageLayer>> VhdLayer::create_twin(os::FileSystem& files,
                                                          const std::string& path) const {
  auto disk = like_this();
  disk.type = static_cast<DiskType>(footer_.type());
  disk.id = footer_.id();
  if (kind_ == LayerKind::differencing) {
    disk.parent_id = header_.parent_id();
    disk.parent_name = header_.parent_name();
    disk.parent_modified = header_.parent_modified();
    disk.locators = locators_;
  }
  RS_CHECK(create_file(files, path, disk));
  FileOptions options;
  options.fresh = true;
  return VhdLayer::open(files, path, Access::write, options);
}

}  // namespace roamstead::vdisk::vhd
