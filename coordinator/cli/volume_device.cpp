#include "coordinator/cli/volume_device.h"

#include <charconv>
#include <filesystem>
#include <optional>

#include "common/volume/partition.h"
#include "coordinator/foreign/nbd_disk.h"

namespace roamstead::cli {
namespace {

// Takes ":NUMBER" off the end of what is no file's name.
std::uint32_t take_partition(std::string& disk) {
  std::error_code error;
  const auto colon = disk.rfind(':');
  if (colon == std::string::npos || colon + 1 == disk.size() || std::filesystem::exists(disk, error))
    return 0;
  std::uint32_t number = 0;
  const auto* end = disk.data() + disk.size();
  const auto parsed = std::from_chars(disk.data() + colon + 1, end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end) return 0;
  disk.resize(colon);
  return number;
}

Result<std::optional<volume::Partition>> choose_partition(const vdisk::Disk& disk, std::uint32_t number) {
  RS_TRY(auto table, volume::read_partition_table(disk));
  if (table.kind == volume::TableKind::none) {
    if (number > 1) return fail(ErrorCode::not_found, disk.name() + ": has no partition table");
    return std::optional<volume::Partition>{};
  }
  std::string numbers;
  for (const auto& each : table.partitions) {
    if (each.number == number || (number == 0 && table.partitions.size() == 1)) return std::optional(each);
    numbers += (numbers.empty() ? "" : ", ") + std::to_string(each.number);
  }
  if (number == 0)
    return fail(ErrorCode::invalid_argument,
                disk.name() + ": has the partitions " + numbers + "; choose by DISK:NUMBER or --partition");
  return fail(ErrorCode::not_found, disk.name() + ": has no partition " + std::to_string(number));
}

}  // namespace

Result<VolumeDevice> open_volume_device(std::string disk, std::uint32_t number) {
  if (number == 0) number = take_partition(disk);
  VolumeDevice opened;
  RS_TRY(opened.disk, foreign::open_any_disk(os::real_file_system(), disk));
  RS_TRY(auto partition, choose_partition(*opened.disk, number));
  if (partition)
    opened.partition =
        std::make_unique<vdisk::SubDevice>(*opened.disk, partition->offset_bytes, partition->size_bytes,
                                           disk + ", partition " + std::to_string(partition->number));
  return opened;
}

}  // namespace roamstead::cli
