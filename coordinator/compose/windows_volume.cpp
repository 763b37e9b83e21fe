#include "coordinator/compose/windows_volume.h"

#include "common/base/text.h"
#include "common/ntfs/volume_state.h"
#include "common/ntfs/wof.h"
#include "common/volume/partition.h"
#include "coordinator/compose/edit.h"

namespace roamstead::compose {
namespace {

constexpr std::uint64_t kMostHiveBytes = std::uint64_t{registry::kMaxBinsBytes} + registry::kBaseBlockBytes;
// Of the base block: a transaction of the kernel's transaction manager has not been ended.
constexpr std::size_t kFlagsOffset = 144;
constexpr std::uint32_t kPendingTransaction = 1;

Result<bool> holds_windows(vdisk::BlockDevice& device) {
  RS_TRY(const auto state, ntfs::volume_state(device));
  if (state.kind == ntfs::VolumeKind::bitlocker)
    return fail(ErrorCode::unsupported,
                device.name() +
                    ": encrypted by BitLocker; turn that off in the golden image (manage-bde -off), "
                    "and wait until it is decrypted");
  if (state.kind != ntfs::VolumeKind::ntfs) return false;
  RS_TRY(const auto volume, ntfs::Volume::open(device));
  const auto system = volume->lookup(std::string(path_of(HiveId::system)));
  if (!system && system.error().code != ErrorCode::not_found) return fail(system.error());
  return system.has_value();
}

std::vector<WindowsPlace> places_of(const vdisk::BlockDevice& disk, const volume::PartitionTable& table) {
  if (table.kind == volume::TableKind::none) return {{0, 0, disk.size_bytes()}};
  std::vector<WindowsPlace> places;
  for (const auto& partition : table.partitions)
    places.push_back({partition.number, partition.offset_bytes, partition.size_bytes});
  return places;
}

std::string device_name(const vdisk::BlockDevice& disk, const WindowsPlace& place) {
  return place.partition == 0 ? disk.name() : disk.name() + ":" + std::to_string(place.partition);
}

Result<Bytes> read_file(const ntfs::Volume& volume, ntfs::FileReference reference, const std::string& path) {
  RS_TRY_CTX(const auto file, path, volume.record(reference.record));
  RS_TRY_CTX(const auto content, path, ntfs::FileContent::open(volume, file, ""));
  if (content.size_bytes() > kMostHiveBytes)
    return fail(ErrorCode::unsupported, path + ": too large to be a hive or its log");
  Bytes bytes(static_cast<std::size_t>(content.size_bytes()));
  RS_CHECK_CTX(path, content.read(0, bytes));
  return bytes;
}

}  // namespace

Result<WindowsPlace> find_windows(vdisk::BlockDevice& disk) {
  RS_TRY(const auto table, volume::read_partition_table(disk));
  std::vector<WindowsPlace> found;
  for (const auto& place : places_of(disk, table)) {
    vdisk::SubDevice device(disk, place.offset_bytes, place.size_bytes, device_name(disk, place));
    RS_TRY(const bool windows, holds_windows(device));
    if (windows) found.push_back(place);
  }
  if (found.empty())
    return fail(ErrorCode::not_found, disk.name() + ": no NTFS volume here has a " +
                                          std::string(path_of(HiveId::system)) +
                                          ": is Windows installed on this disk?");
  if (found.size() > 1)
    return fail(ErrorCode::unsupported, disk.name() + ": Windows is installed on partitions " +
                                            std::to_string(found[0].partition) + " and " +
                                            std::to_string(found[1].partition) + "; one is expected");
  return found.front();
}

Result<std::unique_ptr<WindowsDisk>> WindowsDisk::open(os::FileSystem& files, const std::string& path) {
  std::unique_ptr<WindowsDisk> opened(new WindowsDisk);
  RS_TRY(opened->disk_, vdisk::Disk::open(files, path, vdisk::Access::read));
  RS_TRY(opened->place_, find_windows(*opened->disk_));
  opened->device_ = std::make_unique<vdisk::SubDevice>(*opened->disk_, opened->place_.offset_bytes,
                                                       opened->place_.size_bytes,
                                                       device_name(*opened->disk_, opened->place_));
  RS_TRY(opened->volume_, ntfs::Volume::open(*opened->device_));
  return opened;
}

Result<VolumeHive> load_hive(const ntfs::Volume& volume, const std::string& path) {
  VolumeHive hive;
  hive.path = path;
  RS_TRY(const auto reference, volume.lookup(path));
  RS_TRY(hive.file, read_file(volume, reference, path));
  hive.stored_bytes = hive.file.size();
  const auto slash = path.find_last_of('/');
  const auto folder = path.substr(0, slash == std::string::npos ? 0 : slash);
  const auto name = path.substr(slash == std::string::npos ? 0 : slash + 1);
  RS_TRY(const auto directory, volume.lookup(folder));
  RS_TRY(const auto entries, volume.list(directory.record));
  std::vector<Bytes> contents;
  for (const auto& entry : entries)
    for (const char* suffix : {".LOG", ".LOG1", ".LOG2"})
      if (same_name(entry.name, name + suffix)) {
        hive.log_paths.push_back(folder.empty() ? entry.name : folder + "/" + entry.name);
        RS_TRY(auto content, read_file(volume, entry.reference, hive.log_paths.back()));
        contents.push_back(std::move(content));
      }
  std::vector<registry::LogFile> logs;
  for (std::size_t i = 0; i < contents.size(); ++i) logs.push_back({hive.log_paths[i], contents[i]});
  RS_TRY(auto recovery, registry::recover(hive.file, path, logs));
  hive.was_dirty = recovery.report.was_dirty;
  if (!recovery.file.empty()) hive.file = std::move(recovery.file);
  if ((load_le<std::uint32_t>(hive.file, kFlagsOffset) & kPendingTransaction) != 0)
    return fail(
        ErrorCode::unsupported,
        path +
            ": a transaction is pending in this hive, as after a power cut; start the golden image once "
            "and shut it down (shutdown /s /full)");
  return hive;
}

}  // namespace roamstead::compose
