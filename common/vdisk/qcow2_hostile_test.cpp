// qcow2 files that are damaged, foreign or made to mislead.
#include <doctest/doctest.h>

#include "common/vdisk/chain.h"
#include "common/vdisk/check.h"
#include "common/vdisk/qcow2_check.h"
#include "common/vdisk/qcow2_format.h"
#include "common/vdisk/test_model.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/hostile.h"
#include "tests/support/seed.h"

using namespace roamstead;
using support::CrashFileSystem;
using vdisk::Access;
using vdisk::Disk;
using vdisk::Finding;
using vdisk::Format;

namespace {

constexpr std::uint64_t kSize = 3 << 20;
constexpr std::uint64_t kCluster = 4096;

// "d/base.qcow2" and its child "d/a.qcow2", each with some clusters under two L2 tables.
void make_chain(os::FileSystem& files) {
  REQUIRE(
      vdisk::create_disk(files, "d/base.qcow2", kSize, {.block_bytes = kCluster, .format = Format::qcow2}));
  auto fill = [&](const std::string& path) {
    auto disk = Disk::open(files, path, Access::write).value();
    REQUIRE(disk->write(0, Bytes(20'000, std::byte{7})));
    REQUIRE(disk->write(2'500'000, Bytes(20'000, std::byte{8})));
    REQUIRE(disk->flush());
  };
  fill("d/base.qcow2");
  REQUIRE(vdisk::create_child(files, "d/base.qcow2", "d/a.qcow2"));
  fill("d/a.qcow2");
}

template <class T>
void patch(os::FileSystem& files, std::uint64_t offset, T value, const std::string& path = "d/a.qcow2") {
  Bytes data(sizeof value);
  store_be<T>(data, 0, value);
  REQUIRE(files.open(path, os::OpenMode::read_write).value()->write_at(offset, data));
}

vdisk::qcow2::Header header_of(os::FileSystem& files, const std::string& path = "d/a.qcow2") {
  return vdisk::qcow2::read_header(*files.open(path, os::OpenMode::read).value()).value();
}

std::uint64_t word(os::FileSystem& files, std::uint64_t offset, const std::string& path = "d/a.qcow2") {
  Bytes data(8);
  REQUIRE(files.open(path, os::OpenMode::read).value()->read_exactly(offset, data));
  return load_be<std::uint64_t>(data);
}

std::uint64_t l2_of(os::FileSystem& files) {
  return word(files, header_of(files).l1_offset) & vdisk::qcow2::kOffsetMask;
}

void expect_refused(os::FileSystem& files, Access access, ErrorCode code, const std::string& text) {
  CAPTURE(text);
  auto disk = Disk::open(files, "d/a.qcow2", access);
  REQUIRE_FALSE(disk);
  CHECK_MESSAGE(disk.error().code == code, disk.error().to_string());
  CHECK_MESSAGE(disk.error().to_string().find(text) != std::string::npos, disk.error().to_string());
  CHECK(disk.error().to_string().find("a.qcow2") != std::string::npos);
}

bool finds(os::FileSystem& files, Finding::Severity severity, const std::string& text) {
  const auto findings = vdisk::qcow2::check_file(files, "d/a.qcow2").value();
  for (const auto& finding : findings)
    if (finding.severity == severity && finding.text.find(text) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("what a qcow2 has that we cannot read is refused by its name") {
  struct Case {
    std::uint64_t offset;
    std::uint64_t value;
    std::string text;
  };
  for (const auto& each :
       {Case{72, 4, "file of its own"}, Case{72, 16, "extended L2"}, Case{72, 1u << 9, "bit 9"}}) {
    CrashFileSystem files;
    make_chain(files);
    patch<std::uint64_t>(files, each.offset, each.value);
    expect_refused(files, Access::read, ErrorCode::unsupported, each.text);
  }
  {
    CrashFileSystem files;
    make_chain(files);
    patch<std::uint32_t>(files, 32, 2);
    expect_refused(files, Access::read, ErrorCode::unsupported, "encrypted");
    patch<std::uint32_t>(files, 32, 0);
    patch<std::uint32_t>(files, 4, 4);
    expect_refused(files, Access::read, ErrorCode::unsupported, "version 4");
  }
  CrashFileSystem files;
  make_chain(files);
  auto place = header_of(files).backing_place;
  REQUIRE(files.open("d/a.qcow2", os::OpenMode::read_write)
              .value()
              ->write_at(place.offset, to_bytes("nbd://x/base")));
  expect_refused(files, Access::read, ErrorCode::unsupported, "no plain file");
}

TEST_CASE("what makes writing unsafe keeps a qcow2 readable") {
  struct Case {
    std::uint64_t incompatible;
    std::uint32_t snapshots;
    ErrorCode code;
    std::string text;
  };
  for (const auto& each : {Case{1, 0, ErrorCode::unsupported, "not closed properly"},
                           Case{2, 0, ErrorCode::corrupt, "marked as corrupt"},
                           Case{0, 3, ErrorCode::unsupported, "internal snapshots"}}) {
    CrashFileSystem files;
    make_chain(files);
    patch<std::uint64_t>(files, 72, each.incompatible);
    patch<std::uint32_t>(files, 60, each.snapshots);
    expect_refused(files, Access::write, each.code, each.text);
    auto disk = Disk::open(files, "d/a.qcow2", Access::read);
    REQUIRE(disk);
    Bytes all(kSize);
    CHECK((*disk)->read(0, all));
  }
}

TEST_CASE("a compressed cluster is refused where it is, the rest is read") {
  CrashFileSystem files;
  make_chain(files);
  auto table = l2_of(files);
  patch<std::uint64_t>(files, table + 8, word(files, table + 8) | vdisk::qcow2::kCompressed);
  auto disk = Disk::open(files, "d/a.qcow2", Access::write).value();
  Bytes part(kCluster);
  CHECK(disk->read(0, part));
  CHECK(disk->read(2 * kCluster, part));
  auto refused = disk->read(kCluster, part);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(refused.error().message.find("compressed") != std::string::npos);
  CHECK(disk->write(kCluster, part).error().code == ErrorCode::unsupported);
  CHECK(disk->extents(0).value().contains({kCluster, kCluster}));
}

TEST_CASE("a cluster that lies on a table, or is not the file's own, is not written") {
  for (auto target : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}}) {
    CrashFileSystem files;
    make_chain(files);
    auto table = l2_of(files);
    std::uint64_t places[] = {header_of(files).l1_offset, table, header_of(files).refcount_table_offset};
    patch<std::uint64_t>(files, table, places[target] | vdisk::qcow2::kCopied);
    auto disk = Disk::open(files, "d/a.qcow2", Access::write).value();
    CHECK(disk->write(10, Bytes(10)).error().code == ErrorCode::corrupt);
    CHECK(finds(files, Finding::Severity::error, "lies on a table"));
  }
  CrashFileSystem files;
  make_chain(files);
  auto table = l2_of(files);
  patch<std::uint64_t>(files, table, word(files, table) & ~vdisk::qcow2::kCopied);
  CHECK(Disk::open(files, "d/a.qcow2", Access::write).value()->write(10, Bytes(10)).error().code ==
        ErrorCode::corrupt);
  CHECK(finds(files, Finding::Severity::error, "copied flag is missing"));
}

TEST_CASE("the check names what is wrong with tables and refcounts") {
  using Severity = Finding::Severity;
  CrashFileSystem start;
  make_chain(start);
  CHECK(vdisk::qcow2::check_file(start, "d/a.qcow2").value().empty());
  auto header = header_of(start);
  auto table = l2_of(start);
  auto block = word(start, header.refcount_table_offset);
  auto cluster = (word(start, table) & vdisk::qcow2::kOffsetMask) / kCluster;
  auto with = [&](std::uint64_t offset, std::uint64_t value, Severity severity, const std::string& text) {
    CAPTURE(text);
    auto files = start.clone();
    patch<std::uint64_t>(*files, offset, value);
    CHECK(finds(*files, severity, text));
  };
  with(table, word(start, table + 8), Severity::error, "another cluster's too");
  with(table, word(start, table) | 2, Severity::error, "reserved bits");
  with(table, (std::uint64_t{1} << 40) | vdisk::qcow2::kCopied, Severity::error, "within the file expected");
  with(table, 0, Severity::note, "counted but not used");
  with(header.l1_offset, 0x123'4000 | vdisk::qcow2::kCopied, Severity::error, "within the file expected");
  with(header.refcount_table_offset, 0, Severity::error, "counted 0 times");
  with(72, 2, Severity::error, "marked as corrupt");
  auto files = start.clone();
  patch<std::uint16_t>(*files, block + cluster * 2, 2);
  CHECK(finds(*files, Severity::error, "refcount is not 1"));
  patch<std::uint16_t>(*files, block + cluster * 2, 0);
  CHECK(finds(*files, Severity::error, "used 1 times and counted 0"));
}

TEST_CASE("whatever is damaged in a qcow2, it is read, checked, written or refused by name within a second") {
  auto random = support::seeded_random();
  CrashFileSystem start;
  make_chain(start);
  auto size = start.open("d/a.qcow2", os::OpenMode::read).value()->size().value();
  std::size_t refused = 0;
  for (int round = 0; round < 400; ++round) {
    CAPTURE(round);
    auto files = start.clone();
    {
      auto file = files->open("d/a.qcow2", os::OpenMode::read_write).value();
      for (auto changes = 1 + random() % 4; changes > 0; --changes) {
        const auto width = std::size_t{1} << random() % 4;
        auto offset = random() % 3 == 0 ? random() % 200 : random() % (size / 8) * 8 + random() % 8;
        offset = std::min(offset, size - width);
        Bytes number(8);
        REQUIRE(file->read_exactly(offset, MutableByteView(number).first(width)));
        const auto was = load_be<std::uint64_t>(number) >> (64 - 8 * width);
        store_be<std::uint64_t>(number, 0,
                                support::awkward_number(random, was, width, size) << (64 - 8 * width));
        REQUIRE(file->write_at(offset, ByteView(number).first(width)));
      }
    }
    support::HostileTrial trial("d/");
    if (const auto disk = Disk::open(*files, "d/a.qcow2", Access::read); trial.note(disk)) {
      Bytes some(std::min<std::uint64_t>((*disk)->size_bytes(), kSize));
      trial.note((*disk)->read(0, some));
      trial.note((*disk)->extents(0));
    }
    CHECK(vdisk::check_disk(*files, "d/a.qcow2"));
    if (const auto disk = Disk::open(*files, "d/a.qcow2", Access::write);
        trial.note(disk) && (*disk)->size_bytes() >= kSize) {
      trial.note((*disk)->write(1'000'000, Bytes(100'000)));
      trial.note((*disk)->freeze());
      trial.note((*disk)->write(1'000'000, Bytes(100'000)));
      trial.note((*disk)->freeze());
      trial.note((*disk)->merge(1));
      trial.note((*disk)->flush());
    }
    refused += trial.errors() != 0 ? 1 : 0;
  }
  CHECK(refused > 50);
}

TEST_CASE("the header takes another parent of any length, with QEMU's feature names in it") {
  CrashFileSystem files;
  make_chain(files);
  {  // as qemu-img leaves it: names of features after the parent's format, then the parent's name
    auto file = files.open("d/a.qcow2", os::OpenMode::read_write).value();
    auto header = header_of(files);
    header.extensions.push_back({vdisk::qcow2::kFeatureNames, Bytes(384, std::byte{'n'})});
    header.backing_place.offset = header.encode_extensions().size();
    auto start = header.encode_extensions();
    auto name = as_bytes(header.backing_name);
    start.insert(start.end(), name.begin(), name.end());
    REQUIRE(file->write_at(0, start));
  }
  for (std::size_t length : {10, 900, 30, 1000, 1020, 12}) {
    CAPTURE(length);
    auto opened = vdisk::open_layer(files, "d/a.qcow2", Access::write);
    REQUIRE_MESSAGE(opened, opened.error().to_string());
    auto lineage = opened->image->lineage();
    lineage.parent_path = std::string(length, 'p');
    lineage.parent_format = Format::vhd;
    lineage.merged_path = "gone.qcow2";
    auto set = opened->image->set_lineage(lineage);
    REQUIRE_MESSAGE(set, set.error().to_string());
    auto now = header_of(files);
    CHECK(now.backing_name == lineage.parent_path);
    CHECK(now.text(vdisk::qcow2::kBackingFormat) == "vpc");
    CHECK(now.text(vdisk::qcow2::kMergedPath) == "gone.qcow2");
  }
}
