#include "common/extract/snapshot.h"

#include <algorithm>

#include "common/base/sha256.h"
#include "common/volume/partition.h"

namespace roamstead::extract {
namespace {

struct VolumePlace {
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
};

bool has_ntfs_signature(const vdisk::BlockDevice& disk, std::uint64_t offset) {
  Bytes sector(512);
  if (offset > disk.size_bytes() || disk.size_bytes() - offset < sector.size()) return false;
  return disk.read(offset, sector).has_value() && as_text(ByteView(sector).subspan(3, 8)) == "NTFS    ";
}

Result<VolumePlace> find_volume(const vdisk::BlockDevice& disk, std::uint32_t number) {
  RS_TRY(auto table, volume::read_partition_table(disk));
  if (table.kind == volume::TableKind::none) {
    if (number > 1)
      return fail(ErrorCode::not_found, disk.name() + ": partition " + std::to_string(number) +
                                            " of a disk without a partition table");
    return VolumePlace{0, disk.size_bytes()};
  }
  for (const auto& partition : table.partitions) {
    const bool chosen =
        number == 0 ? has_ntfs_signature(disk, partition.offset_bytes) : partition.number == number;
    if (chosen) return VolumePlace{partition.offset_bytes, partition.size_bytes};
  }
  return fail(ErrorCode::not_found, disk.name() + (number == 0 ? std::string(": no NTFS partition")
                                                               : ": no partition " + std::to_string(number)));
}

}  // namespace

Result<std::unique_ptr<Snapshot>> Snapshot::open(os::FileSystem& files, const std::string& path,
                                                 std::uint32_t partition) {
  std::unique_ptr<Snapshot> snapshot(new Snapshot);
  RS_TRY(snapshot->disk_, vdisk::Disk::open(files, path, vdisk::Access::read));
  RS_TRY(auto place, find_volume(*snapshot->disk_, partition));
  snapshot->volume_offset_ = place.offset;
  snapshot->part_ = std::make_unique<vdisk::SubDevice>(*snapshot->disk_, place.offset, place.size_bytes,
                                                       path + ": volume at " + std::to_string(place.offset));
  RS_TRY_CTX(snapshot->volume_, path, ntfs::Volume::open(*snapshot->part_));
  return snapshot;
}

Result<MapState> Snapshot::map_state() const {
  constexpr std::size_t kBootSectorBytes = 512, kSerialAt = 72, kRestartPagesBytes = 8192;
  constexpr std::uint64_t kLogFileRecord = 2;
  const auto& info = volume_->info();
  MapState state;
  const auto top = disk_->layers().front();
  state.layer = top.id;
  state.volume_offset = volume_offset_;
  state.volume_bytes = info.volume_bytes;
  state.record_count = info.record_count;
  state.cluster_bytes = info.cluster_bytes;
  state.record_bytes = info.record_bytes;
  Bytes seed(kBootSectorBytes);
  RS_CHECK(part_->read(0, seed));
  state.serial = load_le<std::uint64_t>(seed, kSerialAt);
  RS_TRY(const auto mft_record, volume_->raw_record(0));
  seed.insert(seed.end(), mft_record.begin(), mft_record.end());
  // Others who write to a VHD keep its id. A Windows that had it in use has written to its log.
  if (top.format == vdisk::Format::vhd)
    if (const auto log = volume_->record(kLogFileRecord); log && !log->streams.empty()) {
      Bytes pages(std::min<std::uint64_t>(kRestartPagesBytes, log->streams.front().size_bytes));
      if (volume_->read(log->streams.front(), 0, pages)) seed.insert(seed.end(), pages.begin(), pages.end());
    }
  state.digest = sha256(seed);
  return state;
}

}  // namespace roamstead::extract
