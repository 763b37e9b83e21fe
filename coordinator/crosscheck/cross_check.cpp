#include "coordinator/crosscheck/cross_check.h"

#include <algorithm>

#include "common/vdisk/chain.h"
#include "common/vdisk/check.h"
#include "common/vdisk/vhdx_layer.h"
#include "coordinator/crosscheck/libvhdi_disk.h"

namespace roamstead::crosscheck {
namespace {

using vdisk::Format;
using vdisk::LayerKind;
using Source = vdisk::Layer::Piece::Source;

constexpr std::uint64_t kReadBytes = 1u << 20;
constexpr std::uint64_t kSectorBytes = 512;

constexpr const char* kBitOfByte =
    "VHD: in a byte of a sector bitmap, clear bits after a set one are taken for set";
constexpr const char* kNoBitmapBlock =
    "VHDX: a block not present in a child whose chunk has no bitmap block: the file's start is taken for one";
constexpr const char* kZeroBlock = "VHDX: a block of the state zero in a child is read from the parent";
constexpr const char* kSecondChunk =
    "VHDX: in a fixed disk the block table's places for bitmaps are not skipped: wrong from the second chunk "
    "on";
constexpr const char* kLog = "VHDX: the log is not replayed";
constexpr const char* kBothHeaders = "VHDX: a file with one damaged header is refused";

// Which of libvhdi's faults the layers, as we read them, provoke at this sector.
class Explainer {
 public:
  static Result<Explainer> make(os::FileSystem& files, const std::string& path) {
    Explainer explainer;
    RS_TRY(explainer.chain_, vdisk::open_chain(files, path, vdisk::Access::read));
    for (const auto& each : explainer.chain_) {
      auto info = each.layer->info();
      explainer.tables_.emplace_back();
      if (info.format != Format::vhdx) continue;
      RS_TRY(auto file, files.open(info.path, os::OpenMode::read));
      RS_TRY(auto current, vdisk::vhdx::read_header(*file));
      if (!current.header.log_guid.is_zero()) explainer.has_log_ = true;
      if (info.kind == LayerKind::differencing)
        if (auto table = table_of(*file, current.header)) explainer.tables_.back() = std::move(*table);
      for (auto offset : vdisk::vhdx::kHeaderOffsets) {
        Bytes copy(4);
        if (!file->read_exactly(offset, copy) || as_text(copy) != "head") explainer.header_lost_ = true;
      }
    }
    return explainer;
  }

  bool has_log() const { return has_log_; }
  bool header_lost() const { return header_lost_; }

  Result<std::string> explain(std::uint64_t sector) const {
    for (std::size_t i = 0; i < chain_.size(); ++i) {
      const auto& layer = *chain_[i].layer;
      if (sector >= layer.virtual_bytes()) break;
      auto info = layer.info();
      RS_TRY(auto piece, layer.lookup(sector, kSectorBytes));
      if (info.format == Format::vhd && info.kind != LayerKind::fixed && piece.source != Source::here) {
        RS_TRY(bool earlier, earlier_in_byte(layer, sector));
        if (earlier) return kBitOfByte;
      }
      if (info.format == Format::vhdx && info.kind == LayerKind::differencing) {
        if (piece.source == Source::zero) return kZeroBlock;
        if (piece.source == Source::below && lacks_bitmap(i, sector)) return kNoBitmapBlock;
      }
      // The chunk's size follows from the format alone: 2^23 sectors.
      auto chunk = (std::uint64_t{1} << 23) * layer.sector_bytes();
      if (info.format == Format::vhdx && info.kind == LayerKind::fixed && sector >= chunk)
        return kSecondChunk;
      if (piece.source != Source::below) break;
    }
    return has_log_ ? kLog : "";
  }

 private:
  // Whether an earlier sector of the same byte of the bitmap is in the layer.
  static Result<bool> earlier_in_byte(const vdisk::Layer& layer, std::uint64_t sector) {
    constexpr std::uint64_t kByte = 8 * kSectorBytes;
    for (auto at = sector / kByte * kByte; at < sector; at += kSectorBytes) {
      RS_TRY(auto piece, layer.lookup(at, kSectorBytes));
      if (piece.source == Source::here) return true;
    }
    return false;
  }
  // As it is in the file, without what a log would change: so libvhdi sees it.
  static Result<vdisk::vhdx::BlockTable> table_of(const os::File& file, const vdisk::vhdx::Header& header) {
    RS_TRY(const auto regions, vdisk::vhdx::read_regions(file, header));
    RS_TRY(const auto metadata, vdisk::vhdx::read_metadata(file, regions.metadata));
    return vdisk::vhdx::BlockTable::read_entries(file, metadata, regions);
  }
  // Whether the chunk that the sector lies in has no bitmap block.
  bool lacks_bitmap(std::size_t layer, std::uint64_t sector) const {
    using Table = vdisk::vhdx::BlockTable;
    const auto& table = tables_[layer];
    if (!table || !table->has_parent) return false;
    const auto index = table->bitmap_index(sector / (table->chunk_ratio * table->block_bytes));
    return index < table->entries.size() && Table::state(table->entries[index]) != Table::fully;
  }

  vdisk::Chain chain_;
  std::vector<std::optional<vdisk::vhdx::BlockTable>> tables_;  // of differencing VHDX files
  bool has_log_ = false;
  bool header_lost_ = false;
};

Result<void> add_differences(CrossCheck& check, const Explainer& explainer, std::uint64_t offset,
                             ByteView ours, ByteView theirs) {
  for (std::uint64_t at = 0; at < ours.size(); at += kSectorBytes) {
    auto count = std::min<std::uint64_t>(kSectorBytes, ours.size() - at);
    if (std::memcmp(ours.data() + at, theirs.data() + at, count) == 0) continue;
    RS_TRY(auto known, explainer.explain(offset + at));
    auto& found = check.differences;
    if (!found.empty() && found.back().range.end() == offset + at && found.back().known == known) {
      found.back().range.length += count;
    } else if (found.size() == kMaxDifferences) {
      check.more = true;
      return {};
    } else {
      found.push_back({{offset + at, count}, known});
    }
  }
  return {};
}

}  // namespace

bool CrossCheck::has_unknown() const {
  if (unreadable && known.empty()) return true;
  return std::any_of(differences.begin(), differences.end(),
                     [](const auto& each) { return each.known.empty(); });
}

Result<CrossCheck> cross_check(os::FileSystem& files, const std::string& path,
                               const vdisk::Progress& progress) {
  RS_TRY(auto disk, vdisk::Disk::open(files, path, vdisk::Access::read));
  RS_TRY(auto explainer, Explainer::make(files, path));
  std::vector<std::string> paths;
  for (const auto& layer : disk->layers()) {
    if (layer.format != Format::vhd && layer.format != Format::vhdx)
      return fail(ErrorCode::unsupported, layer.path + ": libvhdi reads VHD and VHDX files only");
    paths.push_back(layer.path);
  }
  CrossCheck check;
  auto unreadable = [&](Error error) {
    check.unreadable = std::move(error);
    check.known = explainer.header_lost() ? kBothHeaders : "";
    return check;
  };
  auto other = LibvhdiDisk::open(paths);
  if (!other) return unreadable(std::move(other).error());
  auto size = (*other)->size_bytes();
  if (!size) return unreadable(std::move(size).error());
  auto total = disk->size_bytes();
  if (*size != total) {
    auto common = std::min(*size, total);
    check.differences.push_back({{common, std::max(*size, total) - common}, ""});
    total = common;
  }
  Bytes ours(kReadBytes), theirs(kReadBytes);
  for (std::uint64_t offset = 0; offset < total; offset += kReadBytes) {
    auto count = std::min(kReadBytes, total - offset);
    auto mine = MutableByteView(ours).first(count);
    auto second = MutableByteView(theirs).first(count);
    RS_CHECK(disk->read(offset, mine));
    if (auto read = (*other)->read(offset, second); !read) return unreadable(std::move(read).error());
    if (std::memcmp(mine.data(), second.data(), count) != 0)
      RS_CHECK(add_differences(check, explainer, offset, mine, second));
    check.compared_bytes += count;
    if (progress) progress(check.compared_bytes, total);
  }
  return check;
}

}  // namespace roamstead::crosscheck
