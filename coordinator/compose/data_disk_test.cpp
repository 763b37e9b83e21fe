// User data disks, judged by other people's programs, and by what a loss of power leaves.
#include "coordinator/compose/data_disk.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "common/ntfs/volume.h"
#include "common/vdisk/convert.h"
#include "coordinator/crosscheck/cross_check.h"
#include "coordinator/foreign/nbd_disk.h"
#include "tests/support/command.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::compose {
namespace {

using support::must;

PoolSpec spec_with(const std::string& directory, UserDiskFormat format, bool mbr = false) {
  PoolSpec spec;
  spec.name = "sales";
  spec.directory = directory;
  spec.user_disk.emplace();
  spec.user_disk->size_bytes = 96u << 20;
  spec.user_disk->format = format;
  spec.user_disk->mbr = mbr;
  spec.user_disk->label = "Daten";
  return spec;
}

struct Seen {
  volume::PartitionTable table;
  std::string label;
  std::uint64_t serial = 0;
};

Seen look(os::FileSystem& files, const std::string& path) {
  const auto disk = must(foreign::open_any_disk(files, path));
  Seen seen{must(volume::read_partition_table(*disk)), "", 0};
  REQUIRE(seen.table.partitions.size() == 1);
  const auto& partition = seen.table.partitions[0];
  vdisk::SubDevice device(*disk, partition.offset_bytes, partition.size_bytes, "partition");
  const auto opened = must(ntfs::Volume::open(device));
  seen.label = opened->info().label;
  CHECK_FALSE(opened->info().dirty);
  Bytes first(512), last(512);
  must(device.read(0, first));
  must(device.read(partition.size_bytes - 512, last));
  CHECK(first == last);  // the copy of the boot sector
  CHECK(load_le<std::uint32_t>(first, 0x1C) == partition.offset_bytes / 512);
  seen.serial = load_le<std::uint64_t>(first, 72);
  return seen;
}

TEST_CASE(
    "user disks of every format hold an empty volume that others can read, each with identifiers of its "
    "own") {
  if (!support::available("mkntfs")) return;
  support::TemporaryDirectory folder;
  auto& files = os::real_file_system();
  const bool qemu = support::available("qemu-img");
  for (const auto format :
       {UserDiskFormat::vhdx, UserDiskFormat::vhd, UserDiskFormat::qcow2, UserDiskFormat::vmdk}) {
    if (format == UserDiskFormat::vmdk && !qemu) continue;
    const bool mbr = format == UserDiskFormat::vhd || format == UserDiskFormat::vmdk;
    CAPTURE(to_string(format));
    const auto spec = spec_with(folder.path(), format, mbr);
    const auto disks = must(DataDisks::open(files, spec));
    std::set<std::uint64_t> serials;
    std::set<std::string> ids;
    for (const char* clone : {"SALES-1", "SALES-2"}) {
      auto provided = must(disks.provide(clone));
      provided.keep();
      const auto path = data_disk_path(spec, clone);
      const auto seen = look(files, path);
      CHECK(seen.label == "Daten");
      serials.insert(seen.serial);
      CHECK(seen.table.kind == (mbr ? volume::TableKind::mbr : volume::TableKind::gpt));
      REQUIRE(provided.ids());
      // What the drive letter is kept by.
      const auto data = drive_letter_data(*spec.user_disk, *provided.ids());
      if (mbr) {
        REQUIRE(data.size() == 12);
        CHECK(load_le<std::uint32_t>(data, 0) == seen.table.signature);
        CHECK(load_le<std::uint64_t>(data, 4) == seen.table.partitions[0].offset_bytes);
        ids.insert(std::to_string(seen.table.signature));
      } else {
        REQUIRE(data.size() == 24);
        CHECK(as_text(ByteView(data).first(8)) == "DMIO:ID:");
        CHECK(Guid::from(ByteView(data).subspan(8)) == seen.table.partitions[0].id);
        ids.insert(seen.table.partitions[0].id.to_string());
      }
      // An attempt later: the disk is used as it is.
      const auto again = must(disks.provide(clone));
      CHECK(drive_letter_data(*spec.user_disk, *again.ids()) == data);
    }
    CHECK(serials.size() == 2);
    CHECK(ids.size() == 2);

    const auto path = data_disk_path(spec, "SALES-1");
    const auto raw = folder / "disk.raw", partition = folder / "volume.ntfs";
    if (qemu) {
      if (format != UserDiskFormat::vhd) CHECK(support::run_quietly("qemu-img check " + path));
      const std::string name = format == UserDiskFormat::vhd ? "vpc" : std::string(to_string(format));
      REQUIRE(support::run_quietly("qemu-img convert -f " + name + " -O raw " + path + " " + raw));
    } else {
      vdisk::ConvertOptions options;
      options.format = vdisk::Format::raw;
      std::filesystem::remove(raw);
      must(vdisk::convert_disk(files, path, raw, options));
    }
    if (support::available("sfdisk")) CHECK(support::run_quietly("sfdisk -V " + raw));
    if (!mbr && support::available("sgdisk"))
      CHECK(support::run_quietly("sgdisk -v " + raw + " | grep -q 'No problems found'"));
    REQUIRE(support::run_quietly("tail -c +1048577 " + raw + " | head -c " +
                                 std::to_string(volume::single_partition_bytes(96u << 20, !mbr)) + " > " +
                                 partition));
    if (support::available("ntfsfix")) CHECK(support::run_quietly("ntfsfix -n " + partition));
    if (support::available("ntfs-3g.probe"))
      CHECK(support::run_quietly("ntfs-3g.probe --readwrite " + partition));
    if (support::available("ntfslabel"))
      CHECK(support::run_quietly("test \"$(ntfslabel " + partition + ")\" = Daten"));
    if (support::available("fls"))
      CHECK(support::run_quietly("fls " + partition + " | grep -q '\\$MFTMirr'"));
    if (format == UserDiskFormat::vhdx || format == UserDiskFormat::vhd) {
      const auto checked = must(crosscheck::cross_check(files, path));  // by libvhdi
      CHECK_FALSE(checked.has_unknown());
      CHECK(checked.differences.empty());
      if (format == UserDiskFormat::vhdx && support::available("7zz"))
        CHECK(support::run_quietly("7zz e -so -tvhdx " + path + " | head -c $(stat -c %s " + raw +
                                   ") | cmp - " + raw));
    }
  }
}

TEST_CASE("a user disk goes with a desktop that was not made, and one that was there stays") {
  if (!support::available("mkntfs")) return;
  support::TemporaryDirectory folder;
  auto& files = os::real_file_system();
  auto spec = spec_with(folder / "data", UserDiskFormat::qcow2);
  const auto disks = must(DataDisks::open(files, spec));
  const auto path = data_disk_path(spec, "SALES-1");
  {
    const auto provided = must(disks.provide("SALES-1"));
    CHECK(std::filesystem::exists(path));
  }
  CHECK_FALSE(std::filesystem::exists(path));
  must(disks.provide("SALES-1")).keep();
  const auto before = look(files, path).serial;
  {
    const auto provided = must(disks.provide("SALES-1"));
    CHECK(provided.ids());
  }
  CHECK(look(files, path).serial == before);

  // Another pool, or the same one anew.
  CHECK(DataDisks::refuse_existing(files, spec, {"SALES-0", "SALES-1"}).error().to_string().find(path) == 0);
  CHECK(DataDisks::refuse_existing(files, spec, {"SALES-0"}));
  spec.user_disk->reuse_existing = true;
  CHECK(DataDisks::refuse_existing(files, spec, {"SALES-1"}));
  // One that no drive letter could be kept for.
  auto other = spec;
  other.user_disk->mbr = true;
  const auto refused = must(DataDisks::open(files, other)).provide("SALES-1");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(look(files, path).serial == before);

  // Raw: nothing is on it.
  spec.user_disk->formatted = false;
  const auto raw = must(DataDisks::open(files, spec));
  auto provided = must(raw.provide("SALES-2"));
  CHECK_FALSE(provided.ids());
  const auto disk = must(vdisk::Disk::open(files, data_disk_path(spec, "SALES-2"), vdisk::Access::read));
  CHECK(disk->size_bytes() == 96u << 20);
  CHECK(must(volume::read_partition_table(*disk)).kind == volume::TableKind::none);
}

TEST_CASE("power lost at any point: there is no user disk, or a whole one") {
  if (!support::available("mkntfs")) return;
  auto random = support::seeded_random();
  auto spec = spec_with("/disks", UserDiskFormat::vhd);
  spec.user_disk->size_bytes = 64u << 20;
  support::CrashFileSystem empty;
  must(empty.make_directories("/disks"));
  must(empty.sync_directory("/"));
  std::size_t crashes = 0, whole = 0;
  for (std::uint64_t at = 0;; ++at) {
    CAPTURE(at);
    const auto files = empty.clone();
    const auto disks = must(DataDisks::open(*files, spec));
    files->crash_after(at + files->operations());
    {
      auto provided = disks.provide("SALES-1");
      if (provided) provided->keep();
      if (!files->crashed()) {
        CHECK(provided);
        break;
      }
    }
    ++crashes;
    files->power_loss(random());
    if (must(files->exists(data_disk_path(spec, "SALES-1")))) {
      ++whole;
      CHECK(look(*files, data_disk_path(spec, "SALES-1")).label == "Daten");
    }
    must(disks.provide("SALES-1")).keep();
    CHECK(look(*files, data_disk_path(spec, "SALES-1")).label == "Daten");
    CHECK(must(files->list_directory("/disks")).size() == 1);
  }
  CHECK(crashes > 10);
  CHECK(whole < crashes);
}

}  // namespace
}  // namespace roamstead::compose
