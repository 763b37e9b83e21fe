// Volumes compared with what fls sees; those that Windows made come from a folder outside the tree
// (ROAMSTEAD_CORPUS).
#include <doctest/doctest.h>

#include <cstdio>
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
#include "tests/support/corpus.h"
#include "tests/support/memory_device.h"
#include "tests/support/ntfs_image.h"
#include "tests/support/ntfs_record.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::ntfs {
namespace {

std::string output_of(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[65536];
  for (std::size_t count; (count = fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, count);
  pclose(pipe);
  return output;
}

// "record-path[:stream]" of everything fls lists that is in use, but for what it makes up itself.
std::multiset<std::string> fls_listing(const std::string& image) {
  std::multiset<std::string> listing;
  std::istringstream lines(output_of("fls -r -p " + image));
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

void compare_with_fls(const std::string& image, const std::string& label) {
  auto device = support::FileDevice::open(os::real_file_system(), image, os::OpenMode::read);
  REQUIRE(device.has_value());
  auto volume = Volume::open(**device);
  REQUIRE_MESSAGE(volume.has_value(), (volume ? "" : volume.error().to_string()));
  CHECK((*volume)->info().label == label);
  const auto ours = our_listing(**volume);
  const auto theirs = fls_listing(image);
  CHECK(theirs.size() > 2000);
  for (const auto& line : theirs) CHECK_MESSAGE(ours.contains(line), line);
  for (const auto& line : ours) CHECK_MESSAGE(theirs.contains(line), line);
}

// Deleted files: "record path" of those whose path fls knows too.
void compare_deleted_with_fls(const std::string& image) {
  std::set<std::string> theirs;
  std::istringstream lines(output_of("fls -r -p -d " + image));
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

// The content of unnamed streams, at most of `limit` files, by The Sleuth Kit's icat and by us.
void compare_with_icat(const std::string& image, std::size_t limit) {
  const auto device = support::FileDevice::open(os::real_file_system(), image, os::OpenMode::read).value();
  const auto volume = Volume::open(*device).value();
  std::size_t compared = 0;
  CHECK(volume
            ->scan([&](std::uint64_t number, const Result<FileRecord>& file) {
              if (!file || file->directory || compared == limit) return true;
              const auto content = FileContent::open(*volume, *file);
              if (!content || content->size_bytes() > (4u << 20)) return true;
              Bytes bytes(content->size_bytes());
              CHECK(content->read(0, bytes).has_value());
              CHECK_MESSAGE(as_text(bytes) == output_of("icat " + image + " " + std::to_string(number)),
                            number);
              ++compared;
              return true;
            })
            .has_value());
  CHECK(compared > 10);
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
        compare_with_icat(path, 30);  // larger ones The Sleuth Kit does not open
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

// An MFT saved as a file, put where its own first record says it lies, on an otherwise empty disk.
struct SavedMft final : vdisk::BlockDevice {
  explicit SavedMft(Bytes saved) : mft(std::move(saved)) {
    auto first = Bytes(mft.begin(), mft.begin() + 1024);
    REQUIRE(apply_fixups(first).has_value());
    const auto header = parse_record_header(first, 0).value();
    std::vector<AttributeView> attributes;
    REQUIRE(parse_attributes(first, header, attributes).has_value());
    for (const auto& attribute : attributes)
      if (attribute.type == kData && !attribute.resident)
        REQUIRE(
            append_runs(attribute.value, 0, attribute.cluster_count, size_bytes() / 4096, runs).has_value());
    REQUIRE(!runs.empty());
    support::Fields fields;
    fields.bytes_at(3, as_bytes("NTFS    ")).at<std::uint16_t>(11, 512).at<std::uint8_t>(13, 8);
    fields.at(40, size_bytes() / 512).at(48, runs.front().lcn).at(56, runs.front().lcn);
    boot = fields.at<std::uint8_t>(64, 0xF6).at<std::uint8_t>(68, 1).at<std::uint16_t>(510, 0xAA55).padded();
  }
  std::uint64_t size_bytes() const override { return std::uint64_t{1} << 40; }
  std::string name() const override { return "saved MFT"; }
  Result<void> read(std::uint64_t offset, MutableByteView out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = byte_at(offset + i);
    return {};
  }
  std::byte byte_at(std::uint64_t offset) const {
    if (offset < boot.size()) return boot[static_cast<std::size_t>(offset)];
    for (const auto& run : runs)
      if (const auto within = offset - run.lcn * 4096; within < run.clusters * 4096)
        if (const auto at = run.vcn * 4096 + within; at < mft.size())
          return mft[static_cast<std::size_t>(at)];
    return std::byte{0};
  }

  Bytes mft;
  std::vector<Run> runs;
  Bytes boot;
};

}  // namespace

TEST_CASE("every record in use of MFTs saved from Windows machines is read, with names and paths") {
  const auto folder = support::corpus("ntfs/libmft");
  if (folder.empty()) return;
  std::size_t files = 0;
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    CAPTURE(item.path().string());
    SavedMft device(os::read_file(os::real_file_system(), item.path().string(), 1 << 20).value());
    auto volume = Volume::open(device);
    REQUIRE_MESSAGE(volume.has_value(), (volume ? "" : volume.error().to_string()));
    std::size_t expected = 0;
    std::size_t seen = 0;
    for (std::size_t at = 0; at + 1024 <= device.mft.size(); at += 1024)
      expected += as_text(ByteView(device.mft).subspan(at, 4)) == "FILE" &&
                  (device.mft[at + 22] & std::byte{1}) != std::byte{0} &&
                  load_le<std::uint64_t>(device.mft, at + 32) == 0;
    CHECK((*volume)
              ->scan([&](std::uint64_t, const Result<FileRecord>& file) {
                CHECK_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
                ++seen;
                if (file)
                  for (const auto& name : file->names) {
                    const auto path = (*volume)->path_of(name);
                    CHECK_MESSAGE(path.has_value(), (path ? "" : path.error().to_string()));
                  }
                return true;
              })
              .has_value());
    CHECK(seen == expected);
    files += seen;
  }
  CHECK(files > 200);
}

TEST_CASE("the boot sector of a volume with clusters of 2 MiB is understood") {
  const auto packed = support::corpus("ntfs/dissect/boot_2m.bin.gz");
  if (packed.empty()) return;
  const auto unpacked = output_of("zcat " + packed);
  const auto geometry = parse_boot_sector(as_bytes(unpacked), std::uint64_t{1} << 50);
  REQUIRE_MESSAGE(geometry.has_value(), (geometry ? "" : geometry.error().to_string()));
  CHECK(geometry->cluster_bytes == 2 << 20);
}

}  // namespace roamstead::ntfs
