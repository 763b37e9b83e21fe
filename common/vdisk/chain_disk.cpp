#include "common/vdisk/chain_disk.h"

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/vdisk/parent_paths.h"
#include "common/vdisk/qcow2_create.h"
#include "common/vdisk/vhd_create.h"
#include "common/vdisk/vhdx_create.h"
#include "common/vdisk/vhdx_layer.h"

namespace roamstead::vdisk {

Result<std::unique_ptr<Disk>> Disk::open(os::FileSystem& files, const std::string& path, Access access,
                                         const OpenOptions& options) {
  RS_TRY(auto chain, open_chain(files, path, access, options));
  auto disk = std::make_unique<ChainDisk>(files, path, access, std::move(chain));
  if (access == Access::write) RS_CHECK(disk->finish_merges());
  return disk;
}

ChainDisk::ChainDisk(os::FileSystem& files, std::string path, Access access, Chain chain)
    : files_(files),
      path_(std::move(path)),
      access_(access),
      size_bytes_(chain.front().layer->virtual_bytes()),
      sector_bytes_(chain.front().layer->sector_bytes()),
      chain_(std::move(chain)) {}

Result<void> ChainDisk::check_range(std::uint64_t offset, std::size_t length) const {
  if (offset > size_bytes_ || length > size_bytes_ - offset)
    return fail(ErrorCode::invalid_argument, path_ + ": " + std::to_string(length) + " bytes at offset " +
                                                 std::to_string(offset) + " beyond the disk's end at " +
                                                 std::to_string(size_bytes_));
  return {};
}

namespace {

constexpr std::uint32_t kTornBytes = 512;  // what disks write whole or not at all

// Pieces that lie one after the other in a file, and in the buffer, are read at once.
class PieceReader {
 public:
  Result<void> add(const Layer& layer, std::uint64_t file_offset, MutableByteView out) {
    if (layer_ == &layer && file_offset == file_offset_ + out_.size() &&
        out.data() == out_.data() + out_.size()) {
      out_ = {out_.data(), out_.size() + out.size()};
      return {};
    }
    RS_CHECK(finish());
    layer_ = &layer;
    file_offset_ = file_offset;
    out_ = out;
    return {};
  }
  Result<void> finish() {
    if (layer_ == nullptr) return {};
    return std::exchange(layer_, nullptr)->read_file(file_offset_, out_);
  }

 private:
  const Layer* layer_ = nullptr;
  std::uint64_t file_offset_ = 0;
  MutableByteView out_;
};

Result<void> read_layers(const Chain& chain, std::size_t index, std::uint64_t offset, MutableByteView out,
                         PieceReader& reader) {
  while (!out.empty()) {
    // Below the last layer, and beyond the end of a parent smaller than its child, are zeros.
    const auto* layer = index < chain.size() ? chain[index].layer.get() : nullptr;
    auto size = layer != nullptr ? layer->virtual_bytes() : 0;
    if (offset >= size) {
      std::fill(out.begin(), out.end(), std::byte{0});
      return {};
    }
    RS_TRY(auto piece, layer->lookup(offset, std::min<std::uint64_t>(out.size(), size - offset)));
    auto part = out.first(piece.length);
    switch (piece.source) {
      case Layer::Piece::Source::here:
        RS_CHECK(reader.add(*layer, piece.file_offset, part));
        break;
      case Layer::Piece::Source::zero:
        std::fill(part.begin(), part.end(), std::byte{0});
        break;
      case Layer::Piece::Source::below:
        RS_CHECK(read_layers(chain, index + 1, offset, part, reader));
        break;
    }
    offset += piece.length;
    out = out.subspan(piece.length);
  }
  return {};
}

}  // namespace

Result<void> read_chain(const Chain& chain, std::size_t index, std::uint64_t offset, MutableByteView out) {
  PieceReader reader;
  RS_CHECK(read_layers(chain, index, offset, out, reader));
  return reader.finish();
}

Result<void> ChainDisk::read(std::uint64_t offset, MutableByteView out) const {
  RS_CHECK(check_range(offset, out.size()));
  std::shared_lock lock(layers_mutex_);
  return read_chain(chain_, 0, offset, out);
}

Result<ChainLayer> ChainDisk::layer_at(std::size_t index) const {
  std::shared_lock lock(layers_mutex_);
  if (index >= chain_.size())
    return fail(ErrorCode::invalid_argument,
                path_ + ": no layer " + std::to_string(index) + ", it has " + std::to_string(chain_.size()));
  return chain_[index];
}

Result<ChainLayer> ChainDisk::writable_top() const {
  if (access_ != Access::write) return fail(ErrorCode::denied, path_ + ": opened for reading only");
  if (lost_) return fail(ErrorCode::io, path_ + ": a freeze failed half-way; open the disk again");
  return layer_at(0);
}

Result<void> ChainDisk::write(std::uint64_t offset, ByteView data) {
  RS_CHECK(check_range(offset, data.size()));
  std::lock_guard guard(write_mutex_);
  RS_TRY(auto top, writable_top());
  const auto unit = top.layer->write_unit();
  if (!top.layer->rewrites_any_bytes()) return write_units(*top.layer, offset, data, unit);
  while (!data.empty()) {
    RS_TRY(auto piece, top.layer->lookup(offset, data.size()));
    auto part = data.first(piece.length);
    // Whole sectors also where the layer takes any bytes: of two writes into one sector a crash must not
    // leave the second without the first.
    const bool here = piece.source == Layer::Piece::Source::here;
    RS_CHECK(write_units(*top.layer, offset, part, here ? kTornBytes : unit));
    offset += part.size();
    data = data.subspan(part.size());
  }
  return {};
}

Result<void> ChainDisk::write_units(Layer& top, std::uint64_t offset, ByteView data, std::uint32_t unit) {
  // The middle goes as it is; a first and a last sector written in part are read, changed and written.
  if (auto in_unit = offset % unit; in_unit != 0) {
    auto part = data.first(std::min<std::size_t>(data.size(), unit - in_unit));
    RS_CHECK(write_unaligned(top, offset, part, unit));
    offset += part.size();
    data = data.subspan(part.size());
  }
  auto middle = data.first(data.size() - data.size() % unit);
  if (!middle.empty()) RS_CHECK(top.write(offset, middle));
  auto rest = data.subspan(middle.size());
  return rest.empty() ? Result<void>{} : write_unaligned(top, offset + middle.size(), rest, unit);
}

// `data` lies within one unit.
Result<void> ChainDisk::write_unaligned(Layer& top, std::uint64_t offset, ByteView data, std::uint32_t unit) {
  auto start = offset / unit * unit;
  Bytes sector(std::min<std::uint64_t>(unit, size_bytes_ - start));
  RS_CHECK(read(start, sector));
  std::copy(data.begin(), data.end(), sector.begin() + static_cast<std::ptrdiff_t>(offset - start));
  return top.write(start, sector);
}

Result<void> ChainDisk::flush() {
  if (access_ != Access::write) return {};
  std::lock_guard guard(write_mutex_);
  RS_TRY(auto top, writable_top());
  return top.layer->flush();
}

std::vector<LayerInfo> ChainDisk::layers() const {
  std::shared_lock lock(layers_mutex_);
  std::vector<LayerInfo> infos;
  for (const auto& each : chain_) infos.push_back(each.layer->info());
  return infos;
}

Result<RangeSet> ChainDisk::extents(std::size_t index) const {
  RS_TRY(auto chosen, layer_at(index));
  return chosen.layer->extents();
}

namespace {

// `make` gets a temporary name first, so that a crash never leaves half a disk under the name asked for.
template <class Make>
Result<void> create_under_name(os::FileSystem& files, const std::string& path, Make&& make) {
  RS_TRY(auto there, files.exists(path));
  if (there) return fail(ErrorCode::exists, path + ": exists; a disk is never created over a file");
  auto temporary = path + ".new";
  RS_TRY(auto left_over, files.exists(temporary));
  if (left_over) RS_CHECK(files.remove(temporary));
  if (auto made = make(temporary); !made) {
    // What a disk that does not fit has taken already is given back; if that fails too, the next try does it.
    if (auto there_now = files.exists(temporary); there_now && *there_now)
      static_cast<void>(files.remove(temporary));
    return made;
  }
  RS_CHECK(files.rename(temporary, path));
  return files.sync_directory(os::parent_directory(path));
}

Result<void> make_vhd(os::FileSystem& files, const std::string& path, std::uint64_t virtual_bytes,
                      const CreateOptions& options) {
  vhd::NewDisk disk;
  disk.type = options.kind == LayerKind::fixed ? vhd::DiskType::fixed : vhd::DiskType::dynamic;
  disk.virtual_bytes = virtual_bytes;
  disk.block_bytes = options.block_bytes;
  return vhd::create_file(files, path, disk);
}

Result<void> make_qcow2(os::FileSystem& files, const std::string& path, std::uint64_t virtual_bytes,
                        const CreateOptions& options) {
  qcow2::NewDisk disk;
  disk.virtual_bytes = virtual_bytes;
  disk.cluster_bytes = options.block_bytes;
  return qcow2::create_file(files, path, disk);
}

Result<void> make_vhdx(os::FileSystem& files, const std::string& path, std::uint64_t virtual_bytes,
                       const CreateOptions& options) {
  vhdx::Metadata metadata;
  metadata.block_bytes = options.block_bytes;
  metadata.virtual_bytes = virtual_bytes;
  metadata.disk_id = Guid::random();
  metadata.leave_allocated = options.kind == LayerKind::fixed;
  metadata.logical_sector_bytes = options.logical_sector_bytes;
  metadata.physical_sector_bytes = options.physical_sector_bytes;
  RS_CHECK(vhdx::create_file(files, path, metadata));
  return {};
}

}  // namespace

Result<void> create_disk(os::FileSystem& files, const std::string& path, std::uint64_t virtual_bytes,
                         const CreateOptions& options) {
  auto refuse = [&](const std::string& what) {
    return fail(ErrorCode::invalid_argument, path + ": " + what);
  };
  bool vhd = options.format == Format::vhd;
  bool qcow2 = options.format == Format::qcow2;
  if (options.format == Format::raw) return refuse("a raw disk is made by any program that makes files");
  if (options.kind == LayerKind::differencing) return refuse("a differencing disk needs a parent");
  if (qcow2 && options.kind == LayerKind::fixed) return refuse("a qcow2 is always dynamic");
  for (auto sector : {options.logical_sector_bytes, options.physical_sector_bytes})
    if (sector != 512 && sector != 4096)
      return refuse("sectors of " + std::to_string(sector) + " bytes; 512 or 4096 expected");
  if ((vhd || qcow2) && options.logical_sector_bytes != 512)
    return refuse("a " + std::string(to_string(options.format)) + " disk has sectors of 512 bytes");
  auto limit = vhd ? vhd::kMaxVirtualBytes : vhdx::kMaxVirtualBytes;
  if (virtual_bytes == 0 || virtual_bytes % options.logical_sector_bytes != 0 || virtual_bytes > limit)
    return refuse("a size of " + std::to_string(virtual_bytes) + " bytes; whole sectors of " +
                  std::to_string(options.logical_sector_bytes) + " up to " + (vhd ? "2040 GiB" : "64 TiB") +
                  " expected");
  auto chosen = options;
  if (chosen.block_bytes == 0) chosen.block_bytes = qcow2 ? qcow2::kUsualClusterBytes : 2u << 20;
  std::uint32_t least = vhd ? 512u << 10 : qcow2 ? qcow2::kMinClusterBytes : 1u << 20;
  std::uint32_t most = qcow2 ? qcow2::kMaxClusterBytes : 256u << 20;
  if (!std::has_single_bit(chosen.block_bytes) || chosen.block_bytes < least || chosen.block_bytes > most)
    return refuse("a block size of " + std::to_string(chosen.block_bytes) + "; a power of two from " +
                  std::to_string(least) + " bytes to " + std::to_string(most >> 20) + " MiB expected");
  return create_under_name(files, path, [&](const std::string& temporary) {
    if (qcow2) return make_qcow2(files, temporary, virtual_bytes, chosen);
    return vhd ? make_vhd(files, temporary, virtual_bytes, chosen)
               : make_vhdx(files, temporary, virtual_bytes, chosen);
  });
}

Result<void> create_child(os::FileSystem& files, const std::string& parent, const std::string& child) {
  RS_TRY(auto opened, open_layer(files, parent, Access::read));
  auto relative = relative_path(os::parent_directory(child), parent);
  auto info = opened.layer->info();
  if (child.ends_with(".qcow2") && info.format != Format::qcow2)
    return create_under_name(files, child, [&](const std::string& temporary) {
      qcow2::NewDisk disk;
      disk.virtual_bytes = (opened.layer->virtual_bytes() + 511) / 512 * 512;
      disk.parent_path = relative;
      disk.parent_format = info.format;
      return qcow2::create_file(files, temporary, disk);
    });
  if (opened.image == nullptr)
    return fail(
        ErrorCode::unsupported,
        parent + ": only a qcow2 child knows a raw parent; name the child .qcow2, or convert the parent");
  return create_under_name(files, child, [&](const std::string& temporary) -> Result<void> {
    RS_CHECK(opened.image->create_child(files, temporary, relative));
    return {};
  });
}

}  // namespace roamstead::vdisk
