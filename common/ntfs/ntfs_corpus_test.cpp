// Volumes compared with what fls sees; those that Windows made come from a folder outside the tree
// (ROAMSTEAD_CORPUS).
#include <doctest/doctest.h>

#include <bit>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "common/base/text.h"
#include "common/ntfs/boot_sector.h"
#include "common/ntfs/file_details.h"
#include "common/ntfs/record.h"
#include "common/ntfs/runs.h"
#include "common/ntfs/volume_check.h"
#include "common/ntfs/volume_state.h"
#include "common/ntfs/wof.h"
#include "common/vdisk/disk.h"
#include "common/volume/partition.h"
#include "tests/support/command_output.h"
#include "tests/support/corpus.h"
#include "tests/support/memory_device.h"
#include "tests/support/ntfs_image.h"
#include "tests/support/ntfs_record.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::ntfs {
namespace {

// "record-path[:stream]" of everything fls lists that is in use, but for what it makes up itself.
std::multiset<std::string> fls_listing(const std::string& image, std::uint64_t sector = 0) {
  std::multiset<std::string> listing;
  std::istringstream lines(support::output_of("fls -r -p -o " + std::to_string(sector) + " " + image));
  for (std::string line; std::getline(lines, line);) {
    const auto tab = line.find('\t');
    if (tab == std::string::npos || line[4] == '*' || line.starts_with("V/V")) continue;
    const auto address = line.substr(4, tab - 4);
    const auto type = address.substr(address.find('-') + 1);
    if (!type.starts_with("128") && !type.starts_with("144-")) continue;
    auto path = line.substr(tab + 1);
    if (type.starts_with("144-") && path.find(':') != std::string::npos)
      continue;  // indexes shown as streams
    listing.insert(address.substr(0, address.find('-')) + " " + path);
  }
  return listing;
}

std::multiset<std::string> our_listing(const Volume& volume) {
  std::multiset<std::string> listing;
  auto scanned = volume.scan([&](std::uint64_t number, Result<FileRecord> file) {
    CHECK_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
    if (!file || number == kRootRecord) return true;
    for (const auto& name : file->names) {
      auto path = volume.path_of(name);
      CHECK_MESSAGE(path.has_value(), (path ? "" : path.error().to_string()));
      if (!path) continue;
      const auto prefix = std::to_string(number) + " " + *path;
      if (file->directory) listing.insert(prefix);
      for (const auto& stream : file->streams)
        listing.insert(stream.name.empty() ? prefix : prefix + ":" + stream.name);
    }
    return true;
  });
  CHECK(scanned.has_value());
  return listing;
}

void compare_listings(const Volume& volume, const std::multiset<std::string>& theirs) {
  const auto ours = our_listing(volume);
  for (const auto& line : theirs) CHECK_MESSAGE(ours.contains(line), line);
  for (const auto& line : ours) CHECK_MESSAGE(theirs.contains(line), line);
}

void compare_with_fls(const std::string& image, const std::string& label) {
  auto device = support::FileDevice::open(os::real_file_system(), image, os::OpenMode::read);
  REQUIRE(device.has_value());
  auto volume = Volume::open(**device);
  REQUIRE_MESSAGE(volume.has_value(), (volume ? "" : volume.error().to_string()));
  CHECK((*volume)->info().label == label);
  const auto theirs = fls_listing(image);
  CHECK(theirs.size() > 2000);
  compare_listings(**volume, theirs);
}

// Deleted files: "record path" of those whose path fls knows too.
void compare_deleted_with_fls(const std::string& image) {
  std::set<std::string> theirs;
  std::istringstream lines(support::output_of("fls -r -p -d " + image));
  for (std::string line; std::getline(lines, line);) {
    const auto tab = line.find('\t');
    if (tab == std::string::npos || line.find("$OrphanFiles") != std::string::npos) continue;
    auto address = line.substr(6, tab - 6);
    theirs.insert(address.substr(0, address.find('-')) + " " + line.substr(tab + 1));
  }
  std::set<std::string> ours;
  const auto device = support::FileDevice::open(os::real_file_system(), image, os::OpenMode::read).value();
  CHECK(scan_deleted(*device, [&](const DeletedFile& deleted) {
          if (deleted.path_known)
            ours.insert(std::to_string(deleted.file.reference.record) + " " + deleted.path);
          return true;
        }).has_value());
  for (const auto& line : theirs) CHECK_MESSAGE(ours.contains(line), line);
  for (const auto& line : ours) CHECK_MESSAGE(theirs.contains(line), line);
  CHECK(theirs.size() > 100);
}

// The content of unnamed streams, of at most `limit` files, by us and by a program that gets the number of an
// MFT record.
void compare_contents(const std::string& image, std::size_t limit, const std::string& program,
                      std::uint64_t first_record = 0) {
  const auto device = support::FileDevice::open(os::real_file_system(), image, os::OpenMode::read).value();
  const auto volume = Volume::open(*device).value();
  std::size_t compared = 0;
  CHECK(volume
            ->scan([&](std::uint64_t number, const Result<FileRecord>& file) {
              if (!file || file->directory || compared == limit || number < first_record) return true;
              const auto content = FileContent::open(*volume, *file);
              if (!content || content->size_bytes() > (4u << 20)) return true;
              Bytes bytes(content->size_bytes());
              CHECK(content->read(0, bytes).has_value());
              CHECK_MESSAGE(as_text(bytes) == support::output_of(program + " " + std::to_string(number)),
                            program, " ", number);
              ++compared;
              return true;
            })
            .has_value());
  CHECK_MESSAGE(compared >= 5, compared, " files compared");
}

void compare_with_icat(const std::string& image, std::size_t limit) {
  compare_contents(image, limit, "icat " + image);
}
void compare_with_ntfscat(const std::string& image, std::size_t limit) {
  // Of NTFS's own files it gives the records as they are in memory.
  if (support::available("ntfscat")) compare_contents(image, limit, "ntfscat -f " + image + " -i", 24);
}

}  // namespace

TEST_CASE("a volume made by libntfs-3g shows what fls shows") {
  if (!support::can_format_ntfs()) return;
  if (!std::filesystem::exists("/usr/bin/fls")) {
    std::cout << "skipped: fls (package sleuthkit) is not installed\n";
    return;
  }
  support::TemporaryDirectory directory;
  const auto path = directory / "volume.img";
  support::format_ntfs(path);
  {
    support::NtfsImage image(path);
    for (int i = 0; i < 30; ++i) {
      const auto folder =
          (i % 5 == 0 ? "" : "größe " + std::to_string(i / 5 * 5) + "/") + "größe " + std::to_string(i);
      image.make_directory(folder);
      for (int k = 0; k < 70; ++k)
        image.write(folder + "/" + std::to_string(k), 0, Bytes(static_cast<std::size_t>(k * 40)),
                    k % 10 == 0 ? "stream" : "");
      image.link(folder + "/7", folder + "/link");
    }
  }
  compare_with_fls(path, "test");
  compare_with_icat(path, 50);
}

TEST_CASE("clusters of every size that mkntfs makes: files as icat reads them, no fault found") {
  if (!support::can_format_ntfs()) return;
  if (!std::filesystem::exists("/usr/bin/fls")) return;  // said above
  for (const std::uint32_t sector_bytes : {512u, 4096u}) {
    for (std::uint32_t cluster_bytes = sector_bytes; cluster_bytes <= (2u << 20); cluster_bytes *= 2) {
      CAPTURE(sector_bytes);
      CAPTURE(cluster_bytes);
      support::TemporaryDirectory directory;
      const auto path = directory / "volume.img";
      support::format_ntfs(path, {192u << 20, cluster_bytes, sector_bytes});
      {
        support::NtfsImage image(path);
        image.make_directory("folder");
        if (cluster_bytes <= 4096) image.set_compressed("folder");
        for (int i = 0; i < 40; ++i) {
          Bytes content(static_cast<std::size_t>(i * i * 70));
          for (std::size_t k = 0; k < content.size(); ++k)
            content[k] = static_cast<std::byte>(k * k / 100 + k % 7);
          image.write("folder/a file with quite a long name " + std::to_string(i), 0, content);
        }
        image.write("sparse", 3'000'000, Bytes(5000, std::byte{'x'}));
      }
      const auto device = support::FileDevice::open(os::real_file_system(), path, os::OpenMode::read).value();
      CHECK(Volume::open(*device).value()->info().cluster_bytes == cluster_bytes);
      const auto report = check_volume(*device).value();
      CHECK(report.errors + report.warnings == 0);
      for (const auto& finding : report.findings)
        CHECK_MESSAGE(finding.severity == vdisk::Finding::Severity::note, finding.text);
      if (cluster_bytes <= (64u << 10))
        compare_with_icat(path, 14);
      else
        compare_with_ntfscat(path, 14);  // The Sleuth Kit does not open such clusters
    }
  }
}

TEST_CASE("a volume made by Windows shows what fls shows, and its index and MFT agree") {
  const auto packed = support::corpus("ntfs/dissect/ntfs.bin.gz");
  if (packed.empty()) return;
  support::TemporaryDirectory directory;
  const auto image = directory / "volume.img";
  REQUIRE(std::system(("zcat " + packed + " > " + image).c_str()) == 0);
  compare_with_fls(image, "New Volume");
  compare_deleted_with_fls(image);
  compare_with_icat(image, 100);
  compare_with_ntfscat(image, 100);
}

TEST_CASE("the volumes in disks that Windows made show, through the disk's layers, what fls shows") {
  if (!support::available("qemu-img") || !support::available("fls")) return;
  for (const auto& [name, format] :
       {std::pair{"dissect/dissect-dynamic.vhdx", "vhdx"}, {"dissect/dissect-fixed.vhd", "vpc"}}) {
    CAPTURE(name);
    const auto packed = support::corpus("disks/" + std::string(name) + ".gz");
    if (packed.empty()) return;
    support::TemporaryDirectory directory;
    const auto path = directory / os::base_name(name), raw = directory / "disk.raw";
    REQUIRE(support::run("zcat " + packed + " > " + path));
    REQUIRE(support::run("qemu-img convert -f " + std::string(format) + " -O raw " + path + " " + raw));
    const auto disk = vdisk::Disk::open(os::real_file_system(), path, vdisk::Access::read).value();
    const auto table = volume::read_partition_table(*disk).value();
    std::size_t volumes = 0;
    for (const auto& partition : table.partitions) {
      const vdisk::SubDevice part(*disk, partition.offset_bytes, partition.size_bytes, path);
      const auto volume = Volume::open(part);
      if (!volume) continue;  // other file systems
      ++volumes;
      const auto theirs = fls_listing(raw, partition.offset_bytes / 512);
      CHECK(theirs.size() > 20);
      compare_listings(**volume, theirs);
      CHECK(check_volume(part).value().errors == 0);
    }
    CHECK(volumes == 1);
  }
}

TEST_CASE("volumes made by Windows are clean and without fault") {
  support::TemporaryDirectory directory;
  const auto packed = support::corpus("ntfs/dissect/ntfs.bin.gz");
  if (packed.empty()) return;
  const auto image = directory / "volume.img";
  REQUIRE(std::system(("zcat " + packed + " > " + image).c_str()) == 0);
  const auto device = support::FileDevice::open(os::real_file_system(), image, os::OpenMode::read).value();
  const auto state = volume_state(*device).value();
  CHECK(state.clean());
  CHECK(state.log == LogState::clean);
  CHECK(state.log_version == "1.1");
  const auto report = check_volume(*device).value();
  for (const auto& finding : report.findings) FAIL_CHECK(finding.text);
  CHECK(report.files + report.directories > 2000);
  CHECK(report.leaked_clusters == 0);
}

namespace {

// A volume of mkntfs made to fit the boot sector of another of the same size: the system files that it places
// are moved there.
class GraftedVolume {
 public:
  GraftedVolume(const std::string& path, ByteView boot, const Geometry& geometry)
      : device_(support::FileDevice::open(os::real_file_system(), path, os::OpenMode::read_write).value()),
        geometry_(geometry) {
    const auto volume = Volume::open(*device_).value();
    const auto& info = volume->info();
    REQUIRE(info.cluster_bytes == geometry.cluster_bytes);
    REQUIRE(info.volume_bytes == geometry.volume_bytes);
    mft_ = volume->mft().runs.front().lcn * geometry.cluster_bytes;
    const auto bitmap = volume->record(6).value().streams.front();
    bitmap_ = support::stream_place(*volume, bitmap, 0);
    // What lies where the mirror shall be is moved out of its way.
    move(0, kBitmap, geometry.mft_lcn + 8);
    move(0, kData, geometry.mft_lcn);
    move(1, kData, geometry.mirror_lcn);
    Bytes first(4 * geometry.record_bytes);
    REQUIRE(device_->read(mft_, first));
    REQUIRE(device_->write(geometry.mirror_lcn * geometry.cluster_bytes, first));
    REQUIRE(device_->write(0, boot));
  }

 private:
  // The one run of a record's attribute.
  void move(std::uint64_t number, std::uint32_t type, std::uint64_t to) {
    const auto place = mft_ + number * geometry_.record_bytes;
    Bytes record(geometry_.record_bytes);
    REQUIRE(device_->read(place, record));
    REQUIRE(apply_fixups(record));
    std::size_t at = load_le<std::uint16_t>(record, 20);
    while (load_le<std::uint32_t>(record, at) != type) at += load_le<std::uint32_t>(record, at + 4);
    const auto pairs_at = at + load_le<std::uint16_t>(record, at + 32);
    std::vector<Run> runs;
    const auto end = at + load_le<std::uint32_t>(record, at + 4);
    const auto clusters = load_le<std::uint64_t>(record, at + 24) + 1;
    REQUIRE(append_runs(ByteView(record).subspan(pairs_at, end - pairs_at), 0, clusters,
                        geometry_.cluster_count, runs));
    REQUIRE(runs.size() == 1);
    Bytes content(runs[0].clusters * geometry_.cluster_bytes);
    REQUIRE(device_->read(runs[0].lcn * geometry_.cluster_bytes, content));
    REQUIRE(device_->write(to * geometry_.cluster_bytes, content));
    Bytes pairs(5);  // one byte of length, two of place, the end
    pairs[0] = std::byte{0x21};
    pairs[1] = static_cast<std::byte>(runs[0].clusters);
    store_le(pairs, 2, static_cast<std::uint16_t>(to));
    REQUIRE((runs[0].clusters < 128 && to < 0x8000 && pairs_at + pairs.size() <= end));
    std::copy(pairs.begin(), pairs.end(), record.begin() + static_cast<std::ptrdiff_t>(pairs_at));
    support::protect(record);
    if (number == 0 && type == kData) mft_ = to * geometry_.cluster_bytes;
    REQUIRE(device_->write(mft_ + number * geometry_.record_bytes, record));
    for (std::uint64_t i = 0; i < runs[0].clusters; ++i) {
      mark(runs[0].lcn + i, false);
      mark(to + i, true);
    }
  }
  void mark(std::uint64_t cluster, bool used) {
    Bytes byte(1);
    REQUIRE(device_->read(bitmap_ + cluster / 8, byte));
    const auto bit = std::byte(1u << cluster % 8);
    byte[0] = used ? byte[0] | bit : byte[0] & ~bit;
    REQUIRE(device_->write(bitmap_ + cluster / 8, byte));
  }

  std::unique_ptr<support::FileDevice> device_;
  const Geometry geometry_;
  std::uint64_t mft_ = 0, bitmap_ = 0;
};

}  // namespace

TEST_CASE("the boot sector of a volume with clusters of 2 MiB is understood as others do") {
  const auto packed = support::corpus("ntfs/dissect/boot_2m.bin.gz");
  if (packed.empty() || !support::can_format_ntfs()) return;
  const auto unpacked = support::output_of("zcat " + packed);
  const auto geometry = parse_boot_sector(as_bytes(unpacked), std::uint64_t{1} << 50);
  REQUIRE_MESSAGE(geometry.has_value(), (geometry ? "" : geometry.error().to_string()));
  CHECK(geometry->cluster_bytes == 2 << 20);
  CHECK(geometry->record_bytes == 1024);
  CHECK(geometry->index_bytes == 4096);

  support::TemporaryDirectory directory;
  if (support::available("file")) {
    const auto said = support::output_of("zcat " + packed + " > " + (directory / "boot") + "; file " +
                                         (directory / "boot"));
    const auto says = [&](const std::string& what) {
      CHECK_MESSAGE(said.find(what) != std::string::npos, said);
    };
    says(", sectors " + std::to_string(geometry->volume_bytes / geometry->sector_bytes) + ",");
    says("sectors/cluster " +
         std::to_string(256 - std::countr_zero(geometry->cluster_bytes / geometry->sector_bytes)) + ",");
    says("$MFT start cluster " + std::to_string(geometry->mft_lcn) + ",");
    says("$MFTMirror start cluster " + std::to_string(geometry->mirror_lcn) + ",");
    says("bytes/RecordSegment 2^(-1*" + std::to_string(256 - std::countr_zero(geometry->record_bytes)) + ")");
    says("bytes/index block 2^(-1*" + std::to_string(256 - std::countr_zero(geometry->index_bytes)) + ")");
  }

  // A volume behind it, which libntfs-3g then mounts and fills, and 7zz reads.
  const auto path = directory / "volume.img";
  support::format_ntfs(path, {geometry->volume_bytes + geometry->sector_bytes, geometry->cluster_bytes});
  GraftedVolume(path, as_bytes(unpacked).first(8192), *geometry);
  auto random = support::seeded_random();
  Bytes large(5'000'000), small(300);
  for (auto* bytes : {&large, &small})
    for (auto& byte : *bytes) byte = static_cast<std::byte>(random());
  {
    support::NtfsImage image(path);
    image.make_directory("folder");
    image.write("folder/large", 0, large);
    image.write("folder/small", 0, small);
  }
  const auto device = support::FileDevice::open(os::real_file_system(), path, os::OpenMode::read).value();
  const auto volume = Volume::open(*device).value();
  CHECK(volume->mft().runs.front().lcn == geometry->mft_lcn);
  CHECK(check_volume(*device)->errors == 0);
  for (const auto& [name, expected] : {std::pair{"folder/large", &large}, {"folder/small", &small}}) {
    CAPTURE(name);
    const auto file = volume->record(volume->lookup(name)->record).value();
    Bytes content(expected->size());
    REQUIRE(volume->read(file.streams.front(), 0, content));
    CHECK(content == *expected);
    if (support::available("7zz"))
      CHECK(support::output_of("7zz e -so -tntfs " + path + " " + name + " 2>/dev/null") ==
            as_text(*expected));
  }
}

}  // namespace roamstead::ntfs
