// Every kind of VHDX disk the format knows: block sizes, sector sizes, fixed and dynamic, large ones, every
// state of a block; and what others say about them.
#include <doctest/doctest.h>

#include "common/base/crc32c.h"
#include "common/vdisk/test_model.h"
#include "common/vdisk/vhdx_check.h"
#include "common/vdisk/vhdx_create.h"
#include "common/vdisk/vhdx_layer.h"
#include "tests/support/command.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using support::MemoryFileSystem;
using vdisk::Access;
using vdisk::Disk;
using vdisk::LayerKind;
namespace vhdx = vdisk::vhdx;

namespace {

constexpr std::uint64_t kMetadataOffset = 2 << 20;
constexpr std::uint64_t kTableOffset = 3 << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

void check_in_order(os::FileSystem& files, const std::string& path) {
  auto found = vhdx::check_file(files, path);
  REQUIRE_MESSAGE(found, found.error().to_string());
  for (const auto& each : *found) CHECK_MESSAGE(each.severity == vdisk::Finding::Severity::note, each.text);
}

std::unique_ptr<Disk> open(os::FileSystem& files, const std::string& path, Access access = Access::write) {
  auto disk = Disk::open(files, path, access);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  return std::move(*disk);
}

void set_entry(os::FileSystem& files, const std::string& path, std::uint64_t index, std::uint64_t value) {
  Bytes bytes(8);
  store_le<std::uint64_t>(bytes, 0, value);
  REQUIRE(files.open(path, os::OpenMode::read_write).value()->write_at(kTableOffset + index * 8, bytes));
}

}  // namespace

TEST_CASE("every block size with either sector size: write, freeze, merge and open again as a model says") {
  auto random = support::seeded_random();
  constexpr std::uint64_t kSize = 9 * vhdx::kMiB + 4096;
  for (std::uint32_t sector : {512u, 4096u})
    for (std::uint32_t block = 1u << 20; block <= 256u << 20; block *= 2) {
      CAPTURE(sector);
      CAPTURE(block);
      MemoryFileSystem files;
      REQUIRE(vdisk::create_disk(files, "d/base.vhdx", kSize, {block, LayerKind::dynamic, sector, 4096}));
      vdisk::Model model(kSize);
      {
        auto base = open(files, "d/base.vhdx");
        for (int i = 0; i < 6; ++i) model.write_random(*base, random);
        REQUIRE(base->flush());
        CHECK(base->sector_bytes() == sector);
      }
      // A child with blocks as large as its parent's, which create_child does not make.
      auto parent = vhdx::VhdxLayer::open(files, "d/base.vhdx", Access::read).value();
      auto metadata = vhdx::child_metadata(parent->metadata(), parent->info().id, "base.vhdx").value();
      metadata.block_bytes = block;
      REQUIRE(vhdx::create_file(files, "d/a.vhdx", metadata));
      {
        auto disk = open(files, "d/a.vhdx");
        CHECK(disk->sector_bytes() == sector);
        for (int layer = 0; layer < 2; ++layer) {
          for (int i = 0; i < 5; ++i) model.write_random(*disk, random);
          REQUIRE(disk->freeze());
        }
        for (int i = 0; i < 5; ++i) model.write_random(*disk, random);
        REQUIRE(disk->merge(1));
        REQUIRE(disk->flush());
        for (const auto& range : disk->extents(0).value().ranges()) {
          CHECK(range.offset % sector == 0);
          CHECK(range.length % sector == 0);
        }
        model.check(*disk);
      }
      model.check(*open(files, "d/a.vhdx", Access::read));
      for (const char* path : {"d/base.vhdx", "d/a.vhdx", "d/a.0002.vhdx"}) check_in_order(files, path);
    }
}

TEST_CASE("what a disk cannot be is refused when it is made") {
  MemoryFileSystem files;
  auto refused = [&](std::uint64_t size, const vdisk::CreateOptions& options) {
    auto made = vdisk::create_disk(files, "d/a.vhdx", size, options);
    CHECK_FALSE(files.exists("d/a.vhdx").value());
    CHECK_FALSE(files.exists("d/a.vhdx.new").value());
    return made ? std::string() : made.error().to_string();
  };
  CHECK(refused(4096 + 512, {1u << 20, LayerKind::dynamic, 4096, 4096}).find("whole sectors of 4096") !=
        std::string::npos);
  CHECK(refused(1 << 20, {1u << 20, LayerKind::dynamic, 1024, 4096}).find("sectors of 1024") !=
        std::string::npos);
  CHECK(refused(1 << 20, {3u << 20, LayerKind::dynamic, 512, 512}).find("block size") != std::string::npos);
  CHECK(refused(1 << 20, {1u << 20, LayerKind::differencing, 512, 512}).find("parent") != std::string::npos);
  CHECK_FALSE(
      refused(std::uint64_t{64} << 40, {256u << 20, LayerKind::fixed, 512, 512}).empty());  // no such file
}

TEST_CASE("a fixed disk beyond 4 GiB is read and written on both sides of its bitmap entries") {
  auto random = support::seeded_random();
  MemoryFileSystem files;
  constexpr std::uint64_t kSize = 9 * kGiB + 512;
  REQUIRE(vdisk::create_disk(files, "d/a.vhdx", kSize, {32u << 20, LayerKind::fixed, 512, 512}));
  CHECK(vdisk::inspect(files, "d/a.vhdx").value().kind == LayerKind::fixed);
  auto size = files.open("d/a.vhdx", os::OpenMode::read).value()->size().value();
  CHECK(size >= kSize);
  std::map<std::uint64_t, Bytes> written;
  {
    auto disk = open(files, "d/a.vhdx");
    for (auto offset :
         {std::uint64_t{0}, 4 * kGiB - 300, 4 * kGiB + (32 << 20) - 100, 8 * kGiB - 7, kSize - 1000}) {
      Bytes data(1000);
      for (auto& byte : data) byte = static_cast<std::byte>(random());
      REQUIRE(disk->write(offset, data));
      written[offset] = data;
    }
    REQUIRE(disk->flush());
  }
  CHECK(files.open("d/a.vhdx", os::OpenMode::read).value()->size().value() == size);
  auto disk = open(files, "d/a.vhdx", Access::read);
  for (const auto& [offset, data] : written) {
    Bytes seen(data.size());
    REQUIRE(disk->read(offset, seen));
    CHECK(seen == data);
  }
  check_in_order(files, "d/a.vhdx");
}

TEST_CASE("qemu and we read each other's fixed disks beyond 4 GiB") {
  if (!support::available("qemu-img") || !support::available("qemu-io")) return;
  support::TemporaryDirectory directory;
  auto& files = os::real_file_system();
  auto theirs = directory / "theirs.vhdx";
  REQUIRE(support::run("qemu-img create -q -f vhdx -o subformat=fixed,block_size=2M " + theirs +
                       " 5G >/dev/null"));
  REQUIRE(support::run("qemu-io -f vhdx -c 'write -P 7 4608M 64k' -c 'write -P 8 4095M 2M' " + theirs +
                       " >/dev/null"));
  auto disk = open(files, theirs, Access::read);
  for (auto [offset, length, value] : {std::tuple{4608u, 64u << 10, 7}, std::tuple{4095u, 2u << 20, 8}}) {
    Bytes seen(length);
    REQUIRE(disk->read(offset * vhdx::kMiB, seen));
    CHECK(seen == Bytes(length, static_cast<std::byte>(value)));
  }
  // Ours is made sparse here: the same file, but for the space.
  auto ours = directory / "ours.vhdx";
  vhdx::Metadata metadata;
  metadata.block_bytes = 2u << 20;
  metadata.virtual_bytes = 5 * kGiB;
  metadata.disk_id = Guid::random();
  REQUIRE(vhdx::create_file(files, ours, metadata));
  {
    auto writer = open(files, ours);
    REQUIRE(writer->write(4608 * vhdx::kMiB, Bytes(64 << 10, std::byte{7})));
    REQUIRE(writer->write(4095 * vhdx::kMiB, Bytes(2 << 20, std::byte{8})));
    REQUIRE(writer->flush());
  }
  CHECK(support::run(
      "qemu-io -r -f vhdx -c 'read -P 7 4608M 64k' -c 'read -P 8 4095M 2M' -c 'read -P 0 4097M 511M' " +
      ours + " | { ! grep -qi 'failed\\|error'; }"));
  CHECK(support::run("qemu-img check -q -f vhdx " + ours + " >/dev/null 2>&1"));
  // What qemu says is there is what we say is there, at its granularity of blocks.
  auto map = "qemu-img map --output=json -f vhdx " + ours + " | tr '}' '\\n' | grep -c '\"data\": true'";
  CHECK(support::run("test $(" + map + ") -ge 1"));
}

TEST_CASE("a child of more than 1 TiB gets bitmap blocks when they are needed") {
  auto random = support::seeded_random();
  MemoryFileSystem files;
  constexpr std::uint64_t kSize = std::uint64_t{3} << 40;
  REQUIRE(vdisk::create_disk(files, "d/base.vhdx", kSize));
  REQUIRE(vdisk::create_child(files, "d/base.vhdx", "d/a.vhdx"));
  std::map<std::uint64_t, Bytes> written;
  for (int round = 0; round < 3; ++round) {
    auto disk = open(files, "d/a.vhdx");
    for (int i = 0; i < 5; ++i) {
      auto offset = random() % (kSize / 8192) * 8192;
      Bytes data(4096, static_cast<std::byte>(random()));
      REQUIRE(disk->write(offset, data));
      written[offset] = data;
    }
    REQUIRE(disk->flush());
  }
  auto disk = open(files, "d/a.vhdx", Access::read);
  for (const auto& [offset, data] : written) {
    Bytes seen(8192);
    REQUIRE(disk->read(offset, seen));
    CHECK(std::equal(data.begin(), data.end(), seen.begin()));
    CHECK(all_zero(ByteView(seen).subspan(4096)));
  }
  CHECK(disk->extents(0).value().total_bytes() == written.size() * 4096);
  check_in_order(files, "d/a.vhdx");
}

TEST_CASE("each state of a block in a child reads as the format says, also to 7zz, and takes writes") {
  bool oracle = support::available("7zz");
  struct Case {
    std::uint64_t state;
    bool parent;  // the parent shows through
  };
  for (auto [state, parent] : {Case{0, true}, Case{1, false}, Case{2, false}, Case{3, false}}) {
    CAPTURE(state);
    support::TemporaryDirectory directory;
    auto& files = os::real_file_system();
    constexpr std::uint64_t kSize = 4 << 20;
    auto base = directory / "base.vhdx", child = directory / "a.vhdx";
    REQUIRE(vdisk::create_disk(files, base, kSize, {1u << 20}));
    REQUIRE(open(files, base)->write(0, Bytes(kSize, std::byte{7})));
    {
      auto disk = open(files, base);
      REQUIRE(disk->write(0, Bytes(kSize, std::byte{7})));
      REQUIRE(disk->flush());
    }
    REQUIRE(vdisk::create_child(files, base, child));
    set_entry(files, child, 1, state);
    set_entry(files, child, 4096, 0);  // a chunk without a bitmap block
    Bytes expected(kSize, std::byte{7});
    if (!parent) std::fill_n(expected.begin() + (1 << 20), 1 << 20, std::byte{0});
    auto compare = [&] {
      Bytes seen(kSize);
      REQUIRE(open(files, child, Access::read)->read(0, seen));
      CHECK(seen == expected);
      if (!oracle || state == 1) return;  // undefined: whatever the reader likes
      REQUIRE(support::run("7zz e -so -tvhdx " + child + " > " + (directory / "out") + " 2>/dev/null"));
      CHECK(os::read_file(files, directory / "out", kSize).value() == expected);
    };
    compare();
    CHECK(open(files, child, Access::read)->extents(0).value().contains({1 << 20, 1 << 20}) == !parent);
    {
      auto disk = open(files, child);
      REQUIRE(disk->write((1 << 20) + 1000, Bytes(3000, std::byte{9})));
      REQUIRE(disk->flush());
    }
    std::fill_n(expected.begin() + (1 << 20) + 1000, 3000, std::byte{9});
    compare();
    check_in_order(files, child);
  }
}

TEST_CASE("7zz reads disks and children with sectors of 4096 bytes and small and large blocks as we do") {
  if (!support::available("7zz")) return;
  auto random = support::seeded_random();
  constexpr std::uint64_t kSize = 37 * vhdx::kMiB + 3 * 8 * 4096;  // 7zz wants multiples of eight sectors
  for (std::uint32_t sector : {512u, 4096u})
    for (std::uint32_t block : {1u << 20, 8u << 20, 64u << 20}) {
      CAPTURE(sector);
      CAPTURE(block);
      support::TemporaryDirectory directory;
      auto& files = os::real_file_system();
      auto base = directory / "base.vhdx", child = directory / "a.vhdx";
      vdisk::Model model(kSize);
      REQUIRE(vdisk::create_disk(files, base, kSize, {block, LayerKind::dynamic, sector, 4096}));
      auto scribble = [&](const std::string& path) {
        auto disk = open(files, path);
        for (int i = 0; i < 12; ++i) model.write_random(*disk, random);
        REQUIRE(disk->flush());
      };
      scribble(base);
      REQUIRE(vdisk::create_child(files, base, child));
      scribble(child);
      REQUIRE(support::run("7zz e -so -tvhdx " + child + " > " + (directory / "out") + " 2>/dev/null"));
      CHECK(os::read_file(files, directory / "out", 1 << 30).value() == model.bytes());
    }
}

TEST_CASE("what another program added and does not require is left alone") {
  MemoryFileSystem files;
  REQUIRE(vdisk::create_disk(files, "d/a.vhdx", 3 << 20, {1u << 20}));
  REQUIRE(open(files, "d/a.vhdx")->write(0, Bytes(1 << 20, std::byte{5})));
  {
    auto disk = open(files, "d/a.vhdx");
    REQUIRE(disk->write(0, Bytes(1 << 20, std::byte{5})));
    REQUIRE(disk->flush());
  }
  auto file = files.open("d/a.vhdx", os::OpenMode::read_write).value();
  auto end = file->size().value();
  REQUIRE(file->truncate(end + vhdx::kMiB));
  REQUIRE(file->write_at(end, Bytes(4096, std::byte{0xee})));
  for (auto offset : vhdx::kRegionTableOffsets) {
    Bytes table(vhdx::kRegionTableBytes);
    REQUIRE(file->read_exactly(offset, table));
    store_le<std::uint32_t>(table, 8, 3);
    table[16 + 64] = std::byte{1};
    store_le<std::uint64_t>(table, 16 + 64 + 16, end);
    store_le<std::uint32_t>(table, 16 + 64 + 24, static_cast<std::uint32_t>(vhdx::kMiB));
    store_le<std::uint32_t>(table, 4, 0);
    store_le<std::uint32_t>(table, 4, crc32c(table));
    REQUIRE(file->write_at(offset, table));
  }
  Bytes item(32);  // an unknown metadata item, after the five there are
  item[0] = std::byte{2};
  store_le<std::uint32_t>(item, 16, (64 << 10) + 4096);
  store_le<std::uint32_t>(item, 20, 16);
  Bytes count(2);
  store_le<std::uint16_t>(count, 0, 6);
  REQUIRE(file->write_at(kMetadataOffset + 32 + 5 * 32, item));
  REQUIRE(file->write_at(kMetadataOffset + 10, count));
  auto disk = open(files, "d/a.vhdx");
  REQUIRE(disk->write(2 << 20, Bytes(4096, std::byte{6})));  // a new block, behind the unknown region
  REQUIRE(disk->flush());
  disk.reset();
  Bytes region(4096), seen(4096);
  REQUIRE(file->read_exactly(end, region));
  CHECK(region == Bytes(4096, std::byte{0xee}));
  REQUIRE(open(files, "d/a.vhdx", Access::read)->read(2 << 20, seen));
  CHECK(seen == Bytes(4096, std::byte{6}));
  check_in_order(files, "d/a.vhdx");
}

TEST_CASE("entries that a resize left behind the table's end mean nothing") {
  MemoryFileSystem files;
  REQUIRE(vdisk::create_disk(files, "d/a.vhdx", 5 << 20, {1u << 20}));
  {
    auto disk = open(files, "d/a.vhdx");
    REQUIRE(disk->write(0, Bytes(5 << 20, std::byte{5})));
    REQUIRE(disk->flush());
  }
  auto file = files.open("d/a.vhdx", os::OpenMode::read_write).value();
  Bytes entry(32), size(8);
  REQUIRE(file->read_exactly(kMetadataOffset + 32 + 32, entry));  // the virtual disk size
  store_le<std::uint64_t>(size, 0, (3 << 20) - 512);
  REQUIRE(file->write_at(kMetadataOffset + load_le<std::uint32_t>(entry, 16), size));
  set_entry(files, "d/a.vhdx", 4, 6);  // once a block, now nonsense
  {
    auto disk = open(files, "d/a.vhdx");
    CHECK(disk->size_bytes() == (3 << 20) - 512);
    REQUIRE(disk->write(1 << 20, Bytes(1000, std::byte{6})));
    REQUIRE(disk->flush());
  }
  Bytes seen(3000);
  REQUIRE(open(files, "d/a.vhdx", Access::read)->read(1 << 20, seen));
  CHECK(seen[999] == std::byte{6});
  CHECK(seen[1000] == std::byte{5});
  check_in_order(files, "d/a.vhdx");
}

TEST_CASE("a file without a log gets one when it is written") {
  MemoryFileSystem files;
  REQUIRE(vdisk::create_disk(files, "d/a.vhdx", 3 << 20, {1u << 20}));
  auto file = files.open("d/a.vhdx", os::OpenMode::read_write).value();
  auto header = vhdx::read_header(*file).value().header;
  header.log_bytes = 0;
  header.log_offset = 0;
  for (auto offset : vhdx::kHeaderOffsets) {
    ++header.sequence;
    REQUIRE(file->write_at(offset, vhdx::encode_header(header)));
  }
  {
    auto disk = open(files, "d/a.vhdx");
    REQUIRE(disk->write(0, Bytes(5000, std::byte{6})));
    REQUIRE(disk->flush());
    CHECK(vhdx::read_header(*file).value().header.log_bytes == vhdx::kMiB);
    check_in_order(files, "d/a.vhdx");
  }
  Bytes seen(5000);
  REQUIRE(open(files, "d/a.vhdx", Access::read)->read(0, seen));
  CHECK(seen == Bytes(5000, std::byte{6}));
  check_in_order(files, "d/a.vhdx");
}
