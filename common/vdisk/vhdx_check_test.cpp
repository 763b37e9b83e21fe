// One thing broken in a known file, and the finding that names it.
#include "common/vdisk/vhdx_check.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "common/vdisk/test_model.h"
#include "common/vdisk/vhdx_layer.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using support::CrashFileSystem;
using vdisk::Access;
using vdisk::Disk;
using vdisk::Finding;
using Severity = vdisk::Finding::Severity;
namespace vhdx = vdisk::vhdx;

namespace {

constexpr std::uint64_t kSize = (3 << 20) + 512;
constexpr std::uint64_t kTableOffset = 3 << 20;

// A child with a partially and a fully present block, closed.
void make(CrashFileSystem& files) {
  REQUIRE(vdisk::create_disk(files, "d/base.vhdx", kSize, {1u << 20}));
  REQUIRE(vdisk::create_child(files, "d/base.vhdx", "d/a.vhdx"));
  auto disk = Disk::open(files, "d/a.vhdx", Access::write).value();
  REQUIRE(disk->write(5000, Bytes(70'000, std::byte{8})));
  REQUIRE(disk->write(1 << 20, Bytes(1 << 20, std::byte{9})));
  REQUIRE(disk->flush());
}

std::vector<Finding> findings(CrashFileSystem& files, const std::string& path = "d/a.vhdx") {
  auto found = vhdx::check_file(files, path);
  REQUIRE_MESSAGE(found, found.error().to_string());
  return *found;
}

bool has(const std::vector<Finding>& all, Severity severity, std::uint64_t offset, const std::string& text) {
  for (const auto& each : all)
    if (each.severity == severity && each.offset == offset && each.text.find(text) != std::string::npos)
      return true;
  for (const auto& each : all) MESSAGE("found at " << each.offset << ": " << each.text);
  return false;
}

void change(CrashFileSystem& files, std::uint64_t offset, ByteView data) {
  auto file = files.open("d/a.vhdx", os::OpenMode::read_write).value();
  REQUIRE(file->write_at(offset, data));
}

std::uint64_t entry(CrashFileSystem& files, std::uint64_t index) {
  Bytes value(8);
  REQUIRE(files.open("d/a.vhdx", os::OpenMode::read).value()->read_exactly(kTableOffset + index * 8, value));
  return load_le<std::uint64_t>(value);
}

void set_entry(CrashFileSystem& files, std::uint64_t index, std::uint64_t value) {
  Bytes bytes(8);
  store_le<std::uint64_t>(bytes, 0, value);
  change(files, kTableOffset + index * 8, bytes);
}

}  // namespace

TEST_CASE("disks we made have no findings, whatever was done with them") {
  auto random = support::seeded_random();
  CrashFileSystem files;
  REQUIRE(vdisk::create_disk(files, "d/base.vhdx", kSize, {1u << 20}));
  REQUIRE(vdisk::create_child(files, "d/base.vhdx", "d/a.vhdx"));
  vdisk::Model model(kSize);
  {
    auto disk = Disk::open(files, "d/a.vhdx", Access::write).value();
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 10; ++j) model.write_random(*disk, random);
      REQUIRE(disk->freeze());
    }
    REQUIRE(disk->merge(1));
    for (int j = 0; j < 10; ++j) model.write_random(*disk, random);
    REQUIRE(disk->flush());
  }
  const auto names = files.list_directory("d").value();
  for (const auto& name : names) CHECK(findings(files, "d/" + name).empty());
}

TEST_CASE("a damaged copy is a warning, two damaged copies are an error") {
  CrashFileSystem files;
  make(files);
  REQUIRE(findings(files).empty());
  for (std::size_t i = 0; i < 2; ++i) {
    auto copy = files.clone();
    change(*copy, vhdx::kHeaderOffsets[i] + 100, Bytes(1, std::byte{1}));
    change(*copy, vhdx::kRegionTableOffsets[i] + 100, Bytes(1, std::byte{1}));
    auto all = findings(*copy);
    CHECK(all.size() == 2);
    CHECK(has(all, Severity::warning, vhdx::kHeaderOffsets[i], "header"));
    CHECK(has(all, Severity::warning, vhdx::kRegionTableOffsets[i], "region table"));
    change(*copy, vhdx::kRegionTableOffsets[1 - i] + 100, Bytes(1, std::byte{1}));
    CHECK(has(findings(*copy), Severity::error, vhdx::kRegionTableOffsets[0], "neither region table"));
  }
  auto copy = files.clone();
  change(*copy, 0, Bytes(1));
  CHECK(has(findings(*copy), Severity::error, 0, "vhdxfile"));
}

TEST_CASE("every wrong entry of the block table is named, not only the first") {
  CrashFileSystem files;
  make(files);
  auto first = entry(files, 0), second = entry(files, 1);
  REQUIRE((first & 7) == 7);
  REQUIRE((second & 7) == 6);
  set_entry(files, 1, (first & ~std::uint64_t{7}) | 6);
  set_entry(files, 2, 4);
  set_entry(files, 3, std::uint64_t{1} << 40 | 6);
  auto all = findings(files);
  CHECK(has(all, Severity::error, first & ~std::uint64_t{7}, "overlaps block "));
  CHECK(has(all, Severity::error, kTableOffset + 16, "block 2: its entry has the state 4"));
  CHECK(has(all, Severity::error, kTableOffset + 24, "outside the file"));
  CHECK(has(all, Severity::note, second & ~std::uint64_t{7}, "nothing refers to"));
  set_entry(files, 4096, 0);
  CHECK(has(findings(files), Severity::error, kTableOffset, "sector bitmap is absent"));
}

TEST_CASE("sector bits beyond the disk and bitmaps without a bit are told") {
  CrashFileSystem files;
  make(files);
  {
    auto disk = Disk::open(files, "d/a.vhdx", Access::write).value();
    REQUIRE(disk->write(2 << 20, Bytes(512)));
  }
  auto bitmap = entry(files, 4096) & ~std::uint64_t{7};
  change(files, bitmap, Bytes(256));
  CHECK(has(findings(files), Severity::note, bitmap, "no sector present"));
  set_entry(files, 3, (entry(files, 1) & ~std::uint64_t{7}) | 7);  // the last block, of one sector
  set_entry(files, 1, 0);
  change(files, bitmap + 3 * 256, Bytes(1, std::byte{3}));
  CHECK(has(findings(files), Severity::warning, bitmap + 3 * 256, "beyond the end of the disk"));
}

TEST_CASE("a log in use is a note, a torn one an error") {
  CrashFileSystem files;
  make(files);
  auto disk = Disk::open(files, "d/a.vhdx", Access::write).value();
  REQUIRE(disk->write(100'000, Bytes(5000, std::byte{3})));
  REQUIRE(disk->flush());
  auto all = findings(files);
  CHECK(all.size() == 1);
  CHECK(has(all, Severity::note, 1 << 20, "1 pages in 1 entries"));
  auto copy = files.clone();
  change(*copy, (1 << 20) + 300, Bytes(1, std::byte{1}));
  CHECK(has(findings(*copy), Severity::error, 1 << 20, "no entry of it is whole"));
}

TEST_CASE("of random damage the check finds what makes the disk unreadable") {
  auto random = support::seeded_random();
  CrashFileSystem files;
  make(files);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    auto copy = files.clone();
    constexpr std::array<std::uint64_t, 6> kAreas = {
        0, 64 << 10, 192 << 10, 2 << 20, (2 << 20) + (64 << 10), 3 << 20};
    for (int i = 0; i < 3; ++i)
      change(*copy, kAreas[random() % kAreas.size()] + random() % 64,
             Bytes(1, static_cast<std::byte>(random())));
    auto all = findings(*copy);
    bool errors = std::any_of(all.begin(), all.end(),
                              [](const auto& each) { return each.severity == Severity::error; });
    auto layer = vhdx::VhdxLayer::open(*copy, "d/a.vhdx", Access::read);
    refused += layer ? 0 : 1;
    CHECK_MESSAGE((layer || errors), layer.error().to_string());
  }
  CHECK(refused > 30);
}

TEST_CASE("disks that qemu made are in order") {
  if (std::system("command -v qemu-img >/dev/null 2>&1") != 0) {
    MESSAGE("skipped: qemu-img is not installed");
    return;
  }
  support::TemporaryDirectory directory;
  for (const std::string kind : {"dynamic", "fixed"}) {
    auto path = directory / (kind + ".vhdx");
    auto made = "qemu-img create -q -f vhdx -o subformat=" + kind + " " + path +
                " 20M && qemu-io -f vhdx -c 'write 3M 9M' " + path + " >/dev/null";
    REQUIRE(std::system(made.c_str()) == 0);
    auto all = vhdx::check_file(os::real_file_system(), path).value();
    for (const auto& each : all) CHECK_MESSAGE(each.severity == Severity::note, each.text);
  }
}
