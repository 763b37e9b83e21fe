// Damaged and forged VHDX files: an error that names file and place, or a disk that can be read; never
// anything else.
#include <doctest/doctest.h>

#include "common/base/crc32c.h"
#include "common/vdisk/check.h"
#include "common/vdisk/test_model.h"
#include "common/vdisk/vhdx_create.h"
#include "common/vdisk/vhdx_layer.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/hostile.h"
#include "tests/support/seed.h"

using namespace roamstead;
using support::CrashFileSystem;
using vdisk::Access;
using vdisk::Disk;

namespace {

constexpr std::uint64_t kSize = 3 << 20;
constexpr std::uint64_t kMetadataOffset = 2 << 20;
constexpr std::uint64_t kTableOffset = 3 << 20;

// "d/base.vhdx" and its child "d/a.vhdx" with a partially and a fully present block.
void make_chain(CrashFileSystem& files) {
  REQUIRE(vdisk::create_disk(files, "d/base.vhdx", kSize, {1u << 20}));
  REQUIRE(Disk::open(files, "d/base.vhdx", Access::write).value()->write(0, Bytes(kSize, std::byte{7})));
  REQUIRE(vdisk::create_child(files, "d/base.vhdx", "d/a.vhdx"));
  auto disk = Disk::open(files, "d/a.vhdx", Access::write).value();
  REQUIRE(disk->write(5000, Bytes(70'000, std::byte{8})));
  REQUIRE(disk->write(1 << 20, Bytes(1 << 20, std::byte{9})));
  REQUIRE(disk->flush());
}

// Reads all of it if it opens; the message of the error otherwise.
std::string try_disk(CrashFileSystem& files) {
  auto disk = Disk::open(files, "d/a.vhdx", Access::read);
  if (!disk) {
    CHECK(disk.error().to_string().find("d/") != std::string::npos);
    return disk.error().to_string();
  }
  Bytes some(std::min<std::uint64_t>((*disk)->size_bytes(), kSize));
  auto read = (*disk)->read(0, some);
  if (!read) return read.error().to_string();
  auto extents = (*disk)->extents(0);
  return extents ? "" : extents.error().to_string();
}

void change(CrashFileSystem& files, std::uint64_t offset, ByteView data,
            const std::string& path = "d/a.vhdx") {
  auto file = files.open(path, os::OpenMode::read_write).value();
  REQUIRE(file->write_at(offset, data));
  REQUIRE(file->sync());
}

Bytes content(CrashFileSystem& files, std::uint64_t offset, std::size_t size) {
  Bytes bytes(size);
  REQUIRE(files.open("d/a.vhdx", os::OpenMode::read).value()->read_exactly(offset, bytes));
  return bytes;
}

void fix_checksum(Bytes& block) {
  store_le<std::uint32_t>(block, 4, 0);
  store_le<std::uint32_t>(block, 4, crc32c(block));
}

// Changes both region tables, keeping their checksums right.
void change_regions(CrashFileSystem& files, const std::function<void(Bytes&)>& edit) {
  for (auto offset : vdisk::vhdx::kRegionTableOffsets) {
    auto table = content(files, offset, vdisk::vhdx::kRegionTableBytes);
    edit(table);
    fix_checksum(table);
    change(files, offset, table);
  }
}

void change_headers(CrashFileSystem& files, const std::function<void(Bytes&)>& edit) {
  for (auto offset : vdisk::vhdx::kHeaderOffsets) {
    auto header = content(files, offset, vdisk::vhdx::kHeaderBytes);
    edit(header);
    fix_checksum(header);
    change(files, offset, header);
  }
}

Bytes little(std::uint64_t value) {
  Bytes bytes(8);
  store_le<std::uint64_t>(bytes, 0, value);
  return bytes;
}

}  // namespace

TEST_CASE("a file cut short anywhere is refused") {
  CrashFileSystem files;
  make_chain(files);
  auto size = files.open("d/a.vhdx", os::OpenMode::read).value()->size().value();
  REQUIRE(try_disk(files).empty());
  auto step = [](std::uint64_t length) {
    return length > (1u << 20) ? 99'991u : length > 70'000 ? 4093u : 97u;
  };
  for (auto length = size - 1; length > 0; length -= std::min<std::uint64_t>(step(length), length)) {
    auto file = files.open("d/a.vhdx", os::OpenMode::read_write).value();
    REQUIRE(file->truncate(length));
    REQUIRE(file->sync());
    CHECK_MESSAGE(!try_disk(files).empty(), "cut at ", length);
  }
}

TEST_CASE("whatever is damaged in a VHDX, it is read, checked, written or refused by name within a second") {
  auto random = support::seeded_random();
  CrashFileSystem files;
  make_chain(files);
  const auto size = files.open("d/a.vhdx", os::OpenMode::read).value()->size().value();
  struct Area {
    std::uint64_t offset, length;
  };
  const Area areas[] = {{0, 8},
                        {64 << 10, 96},
                        {128 << 10, 96},
                        {192 << 10, 96},
                        {256 << 10, 96},
                        {kMetadataOffset, 260},
                        {kMetadataOffset + (64 << 10), 300},
                        {kTableOffset, 80},
                        {4 << 20, 512}};
  std::size_t refused = 0;
  for (int round = 0; round < 1500; ++round) {
    CAPTURE(round);
    std::vector<std::pair<std::uint64_t, Bytes>> before;
    for (auto changes = 1 + random() % 3; changes > 0; --changes) {
      const auto& area = areas[random() % std::size(areas)];
      const auto width = std::size_t{1} << random() % 4;
      const auto offset = area.offset + random() % area.length;
      const auto was = content(files, offset, width);
      before.emplace_back(offset, was);
      Bytes number(8);
      std::copy(was.begin(), was.end(), number.begin());
      store_le<std::uint64_t>(number, 0,
                              support::awkward_number(random, load_le<std::uint64_t>(number), width, size));
      change(files, offset, ByteView(number).first(width));
    }
    const bool with_checksums = random() % 4 != 0;
    const auto region_backup = content(files, 192 << 10, 128 << 10);
    const auto header_backup = content(files, 64 << 10, 128 << 10);
    if (with_checksums) {
      change_regions(files, [](Bytes&) {});
      change_headers(files, [](Bytes&) {});
    }
    {
      support::HostileTrial trial("d/");
      if (const auto disk = Disk::open(files, "d/a.vhdx", Access::read); trial.note(disk)) {
        Bytes some(std::min<std::uint64_t>((*disk)->size_bytes(), kSize));
        trial.note((*disk)->read(0, some));
        trial.note((*disk)->extents(0));
      }
      refused += trial.errors() != 0 ? 1 : 0;
    }
    if (round % 20 == 0) {
      const auto writing = files.clone();
      support::HostileTrial trial("d/");
      CHECK(vdisk::check_disk(*writing, "d/a.vhdx"));
      if (const auto disk = Disk::open(*writing, "d/a.vhdx", Access::write);
          trial.note(disk) && (*disk)->size_bytes() >= kSize) {
        trial.note((*disk)->write(4096, Bytes(303'104)));
        trial.note((*disk)->freeze());
        trial.note((*disk)->flush());
      }
    }
    change(files, 192 << 10, region_backup);
    change(files, 64 << 10, header_backup);
    for (auto it = before.rbegin(); it != before.rend(); ++it) change(files, it->first, it->second);
  }
  CHECK(refused > 300);
  CHECK(try_disk(files).empty());
}

TEST_CASE("one valid header and one valid region table suffice") {
  CrashFileSystem files;
  make_chain(files);
  for (std::size_t broken = 0; broken < 2; ++broken) {
    auto copy = files.clone();
    change(*copy, vdisk::vhdx::kRegionTableOffsets[broken], Bytes(64 << 10));
    CHECK(try_disk(*copy).empty());
    change(*copy, vdisk::vhdx::kRegionTableOffsets[1 - broken], Bytes(64 << 10));
    CHECK(try_disk(*copy).find("neither region table") != std::string::npos);
  }
  auto copy = files.clone();
  change(*copy, vdisk::vhdx::kHeaderOffsets[0], Bytes(4096));
  CHECK(try_disk(*copy).empty());
  change(*copy, vdisk::vhdx::kHeaderOffsets[1], Bytes(4096));
  CHECK(try_disk(*copy).find("neither header") != std::string::npos);
}

TEST_CASE("what we do not understand is refused by name") {
  CrashFileSystem files;
  make_chain(files);
  auto with = [&](const std::function<void(CrashFileSystem&)>& edit) {
    auto copy = files.clone();
    edit(*copy);
    return try_disk(*copy);
  };
  CHECK(with([](auto& copy) {
          change_headers(copy, [](Bytes& header) { header[48] = std::byte{1}; });
        }).find("log") != std::string::npos);
  CHECK(with([](auto& copy) {
          change_headers(copy, [](Bytes& header) { header[66] = std::byte{2}; });
        }).find("version 2") != std::string::npos);
  CHECK(with([](auto& copy) {
          change_regions(copy, [](Bytes& table) {
            store_le<std::uint32_t>(table, 8, 3);
            table[16 + 64] = std::byte{1};
            store_le<std::uint32_t>(table, 16 + 64 + 28, 1);
          });
        }).find("unknown region") != std::string::npos);
  CHECK(with([](auto& copy) {
          change(copy, kMetadataOffset + 32 + 3 * 32, Bytes(16, std::byte{1}));
        }).find("unknown metadata item") != std::string::npos);
  CHECK(with([](auto& copy) {
          auto offset = load_le<std::uint32_t>(content(copy, kMetadataOffset + 32 + 3 * 32 + 16, 4));
          Bytes value(4);
          store_le<std::uint32_t>(value, 0, 1024);
          change(copy, kMetadataOffset + offset, value);
        }).find("sector size 1024") != std::string::npos);
}

TEST_CASE("block table entries that leave the file, overlap, or contradict each other are refused") {
  CrashFileSystem files;
  make_chain(files);
  auto with_entry = [&](std::uint64_t index, std::uint64_t value) {
    auto copy = files.clone();
    change(*copy, kTableOffset + index * 8, little(value));
    return try_disk(*copy);
  };
  auto first = load_le<std::uint64_t>(content(files, kTableOffset, 8));
  REQUIRE((first & 7) == 7);
  CHECK(with_entry(2, std::uint64_t{1} << 40 | 6).find("outside the file") != std::string::npos);
  CHECK(with_entry(2, 6).find("outside the file") != std::string::npos);
  CHECK(with_entry(2, first).find("claimed twice") != std::string::npos);
  CHECK(with_entry(2, kMetadataOffset | 6).find("claimed twice") != std::string::npos);
  CHECK(with_entry(2, 4).find("state 4") != std::string::npos);
  CHECK(with_entry(0, first | 8).find("reserved") != std::string::npos);
  CHECK(with_entry(4096, 0).find("bitmap is absent") != std::string::npos);
  CHECK(with_entry(2, 2).empty());  // a block of zeros
}

TEST_CASE("a block of zeros hides its parent, and becomes an ordinary one when written") {
  CrashFileSystem files;
  make_chain(files);
  change(files, kTableOffset + 2 * 8, little(2));
  auto disk = Disk::open(files, "d/a.vhdx", Access::write).value();
  Bytes block(1 << 20);
  REQUIRE(disk->read(2 << 20, block));
  CHECK(all_zero(block));
  CHECK(disk->extents(0).value().contains({2 << 20, 1 << 20}));
  REQUIRE(disk->write((2 << 20) + 1000, Bytes(10, std::byte{5})));
  REQUIRE(disk->flush());
  disk.reset();
  disk = Disk::open(files, "d/a.vhdx", Access::read).value();
  REQUIRE(disk->read(2 << 20, block));
  CHECK(block[1005] == std::byte{5});
  CHECK(block[999] == std::byte{0});
  CHECK(block[70'000] == std::byte{0});
}

TEST_CASE("a chain that is its own ancestor, or endless, ends with an error") {
  CrashFileSystem files;
  make_chain(files);
  auto id = vdisk::inspect(files, "d/a.vhdx").value().id;
  {
    auto layer = vdisk::vhdx::VhdxLayer::open(files, "d/a.vhdx", Access::write).value();
    auto lineage = layer->lineage();
    lineage.parent_id = id;
    lineage.parent_path = "a.vhdx";
    REQUIRE(layer->set_lineage(lineage));
  }
  CHECK(try_disk(files).find("descendant") != std::string::npos);
}

TEST_CASE("a file that only looks like a disk is refused") {
  CrashFileSystem files;
  auto make = [&](const std::string& path, ByteView start) {
    auto file = files.open(path, os::OpenMode::create).value();
    REQUIRE(file->truncate(4096));
    REQUIRE(file->write_at(0, start));
    return Disk::open(files, path, Access::read);
  };
  CHECK(make("d/x.vhdx", as_bytes("nothing")).error().code == ErrorCode::corrupt);
  CHECK(make("d/x.vhd", as_bytes("conectix")).error().code == ErrorCode::corrupt);
  CHECK(make("d/x", as_bytes("QFI\xfb")).error().code == ErrorCode::unsupported);
  // The guest wrote a VHDX header into its raw disk: still raw.
  CHECK(make("d/x.raw", as_bytes("vhdxfile")).value()->layers()[0].format == vdisk::Format::raw);
  CHECK(make("d/y", as_bytes("")).value()->size_bytes() == 4096);
}

TEST_CASE("Windows paths lead to a file of the same name beside the child") {
  CrashFileSystem files;
  make_chain(files);
  auto set = [&](const std::string& key, const std::string& value) {
    auto layer = vdisk::vhdx::VhdxLayer::open(files, "d/a.vhdx", Access::write).value();
    auto locator = layer->metadata().locator;
    locator.erase("relative_path");
    locator.set(key, value);
    REQUIRE(layer->set_locator(locator));
  };
  set("absolute_win32_path", "\\\\?\\C:\\VMs\\base.vhdx");
  CHECK(try_disk(files).empty());
  set("absolute_win32_path", "C:\\VMs\\gone.vhdx");
  CHECK(try_disk(files).find("missing") != std::string::npos);
  set("volume_path", "\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\\d\\base.vhdx");
  CHECK(try_disk(files).empty());
}
