#include "coordinator/compose/data_disk.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/event.h"
#include "common/ntfs3g/format.h"
#include "coordinator/compose/unit_tools.h"
#include "coordinator/foreign/command.h"
#include "coordinator/foreign/nbd_disk.h"

namespace roamstead::compose {
namespace {

// Every byte of NTFS's log is written to every disk; as small volumes have it.
constexpr std::uint64_t kLogBytes = 4u << 20;
constexpr std::size_t kNtfsSerial = 72;  // 8 bytes, in the boot sector and its copy in the last one
constexpr std::size_t kSectorBytes = 512;
constexpr auto kDriveLetterType = static_cast<std::uint32_t>(registry::ValueType::binary);
constexpr std::size_t kMostPieceBytes = 1u << 20;

vdisk::Format disk_format(UserDiskFormat format) {
  switch (format) {
    case UserDiskFormat::vhdx:
      return vdisk::Format::vhdx;
    case UserDiskFormat::vhd:
      return vdisk::Format::vhd;
    case UserDiskFormat::qcow2:
      return vdisk::Format::qcow2;
    case UserDiskFormat::vmdk:
      break;
  }
  return vdisk::Format::raw;  // made so, then converted
}

Result<void> remove_disk_if_there(os::FileSystem& files, const std::string& path) {
  RS_TRY(const bool there, files.exists(path));
  return there ? files.remove(path) : Result<void>();
}

// "a/b.data.vhdx" -> "a/b.data.making.vhdx": the ending says which format a disk has.
std::string making_path(const std::string& path, const std::string& ending) {
  return path.substr(0, path.rfind('.')) + ".making." + ending;
}

Result<void> convert_to_vmdk(os::FileSystem& files, const std::string& from, const std::string& to) {
  RS_TRY(const auto done, foreign::run_command({"qemu-img", "convert", "-q", "-t", "writeback", "-f", "raw",
                                                "-O", "vmdk", from, to}));
  if (done.status != 0)
    return fail(ErrorCode::io, fmt::format("{}: qemu-img cannot make it: {}", to, done.err));
  RS_TRY(const auto file, files.open(to, os::OpenMode::read_write));
  return file->sync();
}

Result<void> create_empty(os::FileSystem& files, const std::string& path, const UserDiskSpec& spec) {
  const auto format = disk_format(spec.format);
  if (format == vdisk::Format::raw) {
    RS_TRY(const auto file, files.open(path, os::OpenMode::create_new));
    return file->truncate(spec.size_bytes);
  }
  vdisk::CreateOptions options;
  options.format = format;
  return vdisk::create_disk(files, path, spec.size_bytes, options);
}

}  // namespace

// The partition that is formatted: what is written to it, in order.
class DataDisks::Recorder final : public vdisk::BlockDevice {
 public:
  explicit Recorder(std::uint64_t size_bytes) : size_bytes_(size_bytes) {}
  std::uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(std::uint64_t, MutableByteView) const override {
    return fail(ErrorCode::internal, "what is being formatted is not read");
  }
  Result<void> write(std::uint64_t offset, ByteView data) override {
    if (pieces.empty() || pieces.back().offset + pieces.back().content.size() != offset ||
        pieces.back().content.size() + data.size() > kMostPieceBytes)
      pieces.push_back({offset, {}});
    auto& content = pieces.back().content;
    content.insert(content.end(), data.begin(), data.end());
    return {};
  }
  std::string name() const override { return "the user disk"; }

  std::vector<Piece> pieces;

 private:
  const std::uint64_t size_bytes_;
};

std::string_view to_string(UserDiskFormat format) {
  switch (format) {
    case UserDiskFormat::vhdx:
      return "vhdx";
    case UserDiskFormat::vhd:
      return "vhd";
    case UserDiskFormat::qcow2:
      return "qcow2";
    case UserDiskFormat::vmdk:
      break;
  }
  return "vmdk";
}

std::string data_disk_path(const PoolSpec& spec, const std::string& clone) {
  if (!spec.user_disk) return "";
  const auto& directory = spec.user_disk->directory.empty() ? spec.directory : spec.user_disk->directory;
  return os::join_path(directory, clone + ".data." + std::string(to_string(spec.user_disk->format)));
}

Bytes drive_letter_data(const UserDiskSpec& spec, const volume::TableIds& ids) {
  Bytes data;
  if (spec.mbr) {
    data.resize(12);
    store_le<std::uint32_t>(data, 0, ids.signature);
    store_le<std::uint64_t>(data, 4, volume::kSinglePartitionOffset);
    return data;
  }
  const auto mark = as_bytes("DMIO:ID:");
  data.assign(mark.begin(), mark.end());
  data.insert(data.end(), ids.partition.bytes.begin(), ids.partition.bytes.end());
  return data;
}

Result<void> own_user_disk(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits) {
  const auto& disk = context.spec.user_disk;
  if (!disk || !disk->formatted) return {};
  auto data = drive_letter_data(*disk, clone.user_disk);
  const auto bytes = static_cast<std::uint32_t>(data.size());
  add_own(edits,
          set_data(HiveId::system, "MountedDevices", std::string("\\DosDevices\\") + disk->letter + ":",
                   kDriveLetterType, std::move(data)),
          bytes);
  return {};
}

DataDisks::Provided::~Provided() {
  if (files_ == nullptr) return;
  if (auto gone = remove_disk_if_there(*files_, path_); !gone)
    log_event(Event::data_disk_left, "user disk of a desktop that was not made is left: {}",
              gone.error().to_string());
}

Result<DataDisks> DataDisks::open(os::FileSystem& files, const PoolSpec& spec) {
  DataDisks disks(files, spec);
  if (!spec.user_disk || !spec.user_disk->formatted) return disks;
  Recorder partition(volume::single_partition_bytes(spec.user_disk->size_bytes, !spec.user_disk->mbr));
  RS_CHECK_CTX("user_disk", ntfs3g::format_ntfs(partition, spec.user_disk->label,
                                                volume::kSinglePartitionOffset, kLogBytes));
  disks.pieces_ = std::move(partition.pieces);
  disks.partition_bytes_ = partition.size_bytes();
  return disks;
}

Result<std::vector<std::string>> data_disks_there(os::FileSystem& files, const PoolSpec& spec,
                                                  const std::vector<std::string>& clones) {
  std::vector<std::string> paths;
  for (const auto& clone : clones) {
    auto path = data_disk_path(spec, clone);
    if (path.empty()) break;
    RS_TRY(const bool there, files.exists(path));
    if (there) paths.push_back(std::move(path));
  }
  return paths;
}

Result<void> DataDisks::refuse_existing(os::FileSystem& files, const PoolSpec& spec,
                                        const std::vector<std::string>& clones) {
  if (!spec.user_disk || spec.user_disk->reuse_existing) return {};
  RS_TRY(const auto there, data_disks_there(files, spec, clones));
  if (there.empty()) return {};
  return fail(ErrorCode::exists,
              there.front() +
                  ": a user disk that an earlier desktop left; set existing = \"reuse\" in "
                  "[user_disk] to give it to the new one, or move it away");
}

Result<void> DataDisks::write(vdisk::BlockDevice& disk, const volume::TableIds& ids) const {
  const auto& spec = *spec_.user_disk;
  if (!spec.formatted) return {};
  auto made = spec.mbr ? volume::create_single_mbr_partition(disk, ids)
                       : volume::create_single_partition(disk, spec.label, ids);
  if (!made) return fail(made.error());
  if (made->size_bytes != partition_bytes_)
    return fail(ErrorCode::internal, "a partition of another size than the one that was formatted");
  for (const auto& piece : pieces_) RS_CHECK(disk.write(made->offset_bytes + piece.offset, piece.content));
  // Windows tells volumes apart by it.
  Bytes serial(8);
  fill_random(serial);
  for (const auto sector : {std::uint64_t{0}, made->size_bytes - kSectorBytes})
    RS_CHECK(disk.write(made->offset_bytes + sector + kNtfsSerial, serial));
  return {};
}

Result<void> DataDisks::make(const std::string& path, const volume::TableIds& ids) const {
  const auto& spec = *spec_.user_disk;
  const bool convert = spec.format == UserDiskFormat::vmdk;
  const std::string ending(to_string(spec.format));
  const auto making = making_path(path, convert ? "raw" : ending);
  RS_CHECK(remove_disk_if_there(files_, making));
  RS_CHECK(create_empty(files_, making, spec));
  {
    RS_TRY(const auto disk, vdisk::Disk::open(files_, making, vdisk::Access::write));
    RS_CHECK(write(*disk, ids));
    RS_CHECK(disk->flush());
  }
  auto finished = making;
  if (convert) {
    finished = making_path(path, ending);
    RS_CHECK(remove_disk_if_there(files_, finished));
    RS_CHECK(convert_to_vmdk(files_, making, finished));
    RS_CHECK(files_.remove(making));
  }
  RS_CHECK(files_.rename(finished, path));
  return files_.sync_directory(os::parent_directory(path));
}

Result<volume::TableIds> DataDisks::read_ids(const std::string& path) const {
  RS_TRY(const auto disk, foreign::open_any_disk(files_, path));
  RS_TRY(const auto table, volume::read_partition_table(*disk));
  const auto wanted = spec_.user_disk->mbr ? volume::TableKind::mbr : volume::TableKind::gpt;
  if (table.kind != wanted || table.partitions.size() != 1 ||
      table.partitions[0].offset_bytes != volume::kSinglePartitionOffset)
    return fail(ErrorCode::unsupported,
                path +
                    ": is there already, and is not partitioned as [user_disk] says: no drive letter can be "
                    "kept for it; move it away");
  volume::TableIds ids;
  ids.partition = table.partitions[0].id;
  ids.signature = table.signature;
  return ids;
}

Result<DataDisks::Provided> DataDisks::provide(const std::string& clone) const {
  const auto path = data_disk_path(spec_, clone);
  if (path.empty()) return Provided(nullptr, "", std::nullopt);
  const bool formatted = spec_.user_disk->formatted;
  RS_TRY(const bool there, files_.exists(path));
  if (there) {
    if (!formatted) return Provided(nullptr, path, std::nullopt);
    RS_TRY(const auto ids, read_ids(path));
    return Provided(nullptr, path, ids);
  }
  RS_CHECK(files_.make_directories(os::parent_directory(path)));
  const auto ids = volume::TableIds::random();
  RS_CHECK(make(path, ids));
  return Provided(&files_, path, formatted ? std::optional(ids) : std::nullopt);
}

Result<void> remove_data_disk(os::FileSystem& files, const PoolSpec& spec, const std::string& clone) {
  const auto path = data_disk_path(spec, clone);
  if (path.empty()) return {};
  RS_TRY(const bool there, files.exists(path));
  if (!there) return {};
  RS_CHECK(files.remove(path));
  return files.sync_directory(os::parent_directory(path));
}

}  // namespace roamstead::compose
