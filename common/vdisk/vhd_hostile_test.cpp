// VHD files that are damaged, foreign or made to mislead.
#include <doctest/doctest.h>

#include <ctime>

#include "common/vdisk/check.h"
#include "common/vdisk/test_model.h"
#include "common/vdisk/vhd_layer.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/hostile.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using support::CrashFileSystem;
using vdisk::Access;
using vdisk::Disk;
using vdisk::vhd::Footer;
using vdisk::vhd::Header;

namespace {

constexpr std::uint64_t kSize = 5 * 1024 * 1024;
constexpr std::uint64_t kBlock = 1 << 20;
constexpr std::uint64_t kBaseTable = 1536;

// "d/base.vhd" with a byte in each of the first three of its five blocks, its child "d/a.vhd" with one
// sector.
void make_chain(os::FileSystem& files) {
  REQUIRE(
      vdisk::create_disk(files, "d/base.vhd", kSize, {.block_bytes = kBlock, .format = vdisk::Format::vhd}));
  auto base = Disk::open(files, "d/base.vhd", Access::write).value();
  for (std::uint64_t block = 0; block < 3; ++block)
    REQUIRE(base->write(block * kBlock + 1000, Bytes(1, std::byte{7})));
  REQUIRE(base->flush());
  base.reset();
  REQUIRE(vdisk::create_child(files, "d/base.vhd", "d/a.vhd"));
  auto disk = Disk::open(files, "d/a.vhd", Access::write).value();
  REQUIRE(disk->write(9 * 512, Bytes(512, std::byte{8})));
  REQUIRE(disk->flush());
}

void patch(os::FileSystem& files, const std::string& path, std::uint64_t offset, ByteView data) {
  REQUIRE(files.open(path, os::OpenMode::read_write).value()->write_at(offset, data));
}

std::uint64_t size_of(os::FileSystem& files, const std::string& path) {
  return files.open(path, os::OpenMode::read).value()->size().value();
}

// Changes the footer in both places, its checksum made right.
template <class Change>
void change_footer(os::FileSystem& files, const std::string& path, Change&& change) {
  auto file = files.open(path, os::OpenMode::read_write).value();
  auto end = file->size().value() - 512;
  Footer footer;
  REQUIRE(file->read_exactly(end, footer.bytes));
  change(footer);
  footer.seal();
  REQUIRE(file->write_at(end, footer.bytes));
  if (footer.type() != 2) REQUIRE(file->write_at(0, footer.bytes));
}

template <class Change>
void change_header(os::FileSystem& files, const std::string& path, Change&& change) {
  auto file = files.open(path, os::OpenMode::read_write).value();
  Header header;
  REQUIRE(file->read_exactly(512, header.bytes));
  change(header);
  header.seal();
  REQUIRE(file->write_at(512, header.bytes));
}

// Opens, reads everything; the error, or "".
std::string try_disk(os::FileSystem& files, const std::string& path) {
  auto disk = Disk::open(files, path, Access::read);
  if (!disk) return disk.error().to_string();
  Bytes whole(std::min<std::uint64_t>((*disk)->size_bytes(), 64 << 20));
  auto read = (*disk)->read(0, whole);
  return read ? "" : read.error().to_string();
}

bool finds(os::FileSystem& files, const std::string& path, const std::string& text) {
  auto checked = vdisk::check_disk(files, path);
  REQUIRE_MESSAGE(checked, checked.error().to_string());
  for (const auto& layer : checked->layers)
    for (const auto& finding : layer.findings)
      if (finding.text.find(text) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("a footer that is lost, cut off or damaged is replaced by its copy, for good at the next write") {
  for (int kind = 0; kind < 4; ++kind) {
    CAPTURE(kind);
    CrashFileSystem files;
    make_chain(files);
    auto size = size_of(files, "d/base.vhd");
    auto file = files.open("d/base.vhd", os::OpenMode::read_write).value();
    if (kind == 0) REQUIRE(file->truncate(size - 512));
    if (kind == 1) REQUIRE(file->truncate(size - 200));
    if (kind == 2) REQUIRE(file->write_at(size - 512, Bytes(512)));
    if (kind == 3) REQUIRE(file->write_at(size - 512 + 100, Bytes(1, std::byte{1})));
    file.reset();
    CHECK(try_disk(files, "d/a.vhd").empty());
    CHECK(finds(files, "d/base.vhd", "footer"));
    auto disk = Disk::open(files, "d/base.vhd", Access::write).value();
    REQUIRE(disk->write(kSize - 512, Bytes(512, std::byte{3})));
    REQUIRE(disk->flush());
    disk.reset();
    CHECK_FALSE(vdisk::check_disk(files, "d/base.vhd")->has_errors());
    Bytes byte(1);
    REQUIRE(Disk::open(files, "d/base.vhd", Access::read).value()->read(kBlock + 1000, byte));
    CHECK(byte[0] == std::byte{7});
  }
}

TEST_CASE("a damaged copy of the footer does no harm; without either the disk is refused") {
  CrashFileSystem files;
  make_chain(files);
  patch(files, "d/base.vhd", 20, Bytes(4, std::byte{0xee}));
  CHECK(try_disk(files, "d/a.vhd").empty());
  CHECK(finds(files, "d/base.vhd", "copy"));
  patch(files, "d/base.vhd", size_of(files, "d/base.vhd") - 512, Bytes(512));
  CHECK(try_disk(files, "d/base.vhd").find("footer") != std::string::npos);
}

TEST_CASE("a footer of 511 bytes is read, and made whole by writing") {
  CrashFileSystem files;
  make_chain(files);
  auto size = size_of(files, "d/base.vhd");
  REQUIRE(files.open("d/base.vhd", os::OpenMode::read_write).value()->truncate(size - 1));
  patch(files, "d/base.vhd", 0, Bytes(512));  // the copy is not what makes it readable
  CHECK(try_disk(files, "d/a.vhd").empty());
  CHECK(finds(files, "d/base.vhd", "511"));
  REQUIRE(Disk::open(files, "d/base.vhd", Access::write).value()->write(0, Bytes(512)));
  CHECK(size_of(files, "d/base.vhd") == size);
  CHECK_FALSE(vdisk::check_disk(files, "d/base.vhd")->has_errors());
}

TEST_CASE("a fixed disk's guest cannot pass its first sector off as a footer") {
  CrashFileSystem files;
  REQUIRE(vdisk::create_disk(files, "d/f.vhd", kSize,
                             {.kind = vdisk::LayerKind::fixed, .format = vdisk::Format::vhd}));
  make_chain(files);
  Bytes start(64 << 10);
  REQUIRE(files.open("d/a.vhd", os::OpenMode::read).value()->read_exactly(0, start));
  {
    auto disk = Disk::open(files, "d/f.vhd", Access::write).value();
    REQUIRE(disk->write(0, start));
    REQUIRE(disk->flush());
  }
  auto disk = Disk::open(files, "d/f.vhd", Access::read).value();
  CHECK(disk->layers().size() == 1);
  CHECK(disk->layers()[0].kind == vdisk::LayerKind::fixed);
  Bytes seen(start.size());
  REQUIRE(disk->read(0, seen));
  CHECK(seen == start);
}

TEST_CASE("blocks beyond the end of the file: the rest can be read, nothing written") {
  CrashFileSystem files;
  make_chain(files);
  Bytes entry(4);
  store_be<std::uint32_t>(entry, 0, 0x00ffffff);
  patch(files, "d/base.vhd", kBaseTable + 2 * 4, entry);
  auto disk = Disk::open(files, "d/base.vhd", Access::read).value();
  Bytes byte(1);
  REQUIRE(disk->read(kBlock + 1000, byte));
  CHECK(byte[0] == std::byte{7});
  auto bad = disk->read(2 * kBlock + 1000, byte);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().message.find("block 2") != std::string::npos);
  CHECK(bad.error().message.find(std::to_string(kBaseTable + 8)) != std::string::npos);
  CHECK_FALSE(disk->extents(0));
  disk.reset();
  CHECK(Disk::open(files, "d/base.vhd", Access::write).error().code == ErrorCode::corrupt);
  CHECK(finds(files, "d/base.vhd", "beyond the end"));
}

TEST_CASE("blocks that overlap one another or the file's structures are refused") {
  for (std::uint32_t sector : {0u, 1u, 3u}) {
    CrashFileSystem files;
    make_chain(files);
    Bytes entry(4);
    store_be<std::uint32_t>(entry, 0, sector);
    patch(files, "d/base.vhd", kBaseTable + 4 * 4, entry);
    CHECK(try_disk(files, "d/base.vhd").find("twice") != std::string::npos);
    CHECK(finds(files, "d/base.vhd", "overlaps"));
  }
  CrashFileSystem files;
  make_chain(files);
  Bytes entries(8);
  REQUIRE(files.open("d/base.vhd", os::OpenMode::read).value()->read_exactly(kBaseTable, entries));
  patch(files, "d/base.vhd", kBaseTable + 16, ByteView(entries).first(4));
  CHECK(try_disk(files, "d/base.vhd").find("twice") != std::string::npos);
}

TEST_CASE("headers that cannot be are refused with what was expected") {
  auto expect = [](auto&& change, const std::string& text) {
    CrashFileSystem files;
    make_chain(files);
    change(files);
    CAPTURE(text);
    auto error = try_disk(files, "d/base.vhd");
    CAPTURE(error);
    CHECK(error.find(text) != std::string::npos);
    CHECK(error.find("d/base.vhd") != std::string::npos);
    CHECK(vdisk::check_disk(files, "d/base.vhd")->has_errors());
  };
  auto footer = [](auto change) {
    return [change](os::FileSystem& files) { change_footer(files, "d/base.vhd", change); };
  };
  auto header = [](auto change) {
    return [change](os::FileSystem& files) { change_header(files, "d/base.vhd", change); };
  };
  expect(footer([](Footer& f) { store_be<std::uint32_t>(f.bytes, 60, 9); }), "disk type 9");
  expect(footer([](Footer& f) { store_be<std::uint32_t>(f.bytes, 12, 0x20000); }), "version 2");
  expect(footer([](Footer& f) { f.set_data_offset(~std::uint64_t{0} - 100); }), "outside the file");
  expect(footer([](Footer& f) { f.set_data_offset(1024); }), "cxsparse");
  expect(footer([](Footer& f) {
           store_be<std::uint64_t>(f.bytes, 48, std::uint64_t{1} << 60);
           store_be<std::uint32_t>(f.bytes, 56, 0xffffffff);
         }),
         "room for");
  expect(header([](Header& h) { store_be<std::uint32_t>(h.bytes, 32, 3 << 20); }), "block size");
  expect(header([](Header& h) { store_be<std::uint32_t>(h.bytes, 32, 0); }), "block size");
  expect(header([](Header& h) { store_be<std::uint64_t>(h.bytes, 16, ~std::uint64_t{0}); }), "room for");
  expect(header([](Header& h) { store_be<std::uint32_t>(h.bytes, 28, 2); }), "room for");
  expect([](os::FileSystem& files) { patch(files, "d/base.vhd", 600, Bytes(1, std::byte{1})); }, "checksum");
}

TEST_CASE("the footer's size counts; the geometry only where the file has no room for that") {
  CrashFileSystem files;
  make_chain(files);
  change_footer(files, "d/base.vhd", [](Footer& f) { store_be<std::uint32_t>(f.bytes, 56, 0x00100411); });
  CHECK(vdisk::inspect(files, "d/base.vhd")->virtual_bytes == kSize);
  CHECK_FALSE(finds(files, "d/base.vhd", "geometry"));  // nobody goes by it for disks of Windows
  change_footer(files, "d/base.vhd", [](Footer& f) { std::memcpy(f.bytes.data() + 28, "vpc ", 4); });
  CHECK(finds(files, "d/base.vhd", "geometry"));
  change_footer(files, "d/base.vhd",
                [](Footer& f) { store_be<std::uint64_t>(f.bytes, 48, std::uint64_t{1} << 40); });
  CHECK(vdisk::inspect(files, "d/base.vhd")->virtual_bytes == 16 * 4 * 17 * 512);
}

TEST_CASE("geometries are those of the specification") {
  using vdisk::vhd::Geometry;
  // The values that Windows wrote into the disks of the corpus, and the limits.
  CHECK(Geometry::of(10'485'760) == Geometry{301, 4, 17});
  CHECK(Geometry::of(4'194'304) == Geometry{120, 4, 17});
  CHECK(Geometry::of(136'365'211'648) == Geometry{65278, 16, 255});
  CHECK(Geometry::of(std::uint64_t{2040} << 30) == Geometry{65535, 16, 255});
  for (std::uint64_t size = 1 << 20; size < std::uint64_t{1} << 37; size = size * 3 / 2 / 512 * 512)
    CHECK(Geometry::of(size).total_bytes() <= size);
}

TEST_CASE("clear bits of a dynamic disk's bitmap read as zeros, and writing sets them") {
  CrashFileSystem files;
  make_chain(files);
  Bytes entry(4);
  REQUIRE(files.open("d/base.vhd", os::OpenMode::read).value()->read_exactly(kBaseTable, entry));
  auto bitmap = std::uint64_t{load_be<std::uint32_t>(entry)} * 512;
  patch(files, "d/base.vhd", bitmap,
        Bytes(1, std::byte{0x80}));  // sector 1, which holds the 7, and the next six
  CHECK(finds(files, "d/base.vhd", "never written"));
  auto disk = Disk::open(files, "d/base.vhd", Access::write).value();
  Bytes part(2048);
  REQUIRE(disk->read(0, part));
  CHECK(all_zero(part));
  REQUIRE(disk->write(1024, Bytes(512, std::byte{5})));
  REQUIRE(disk->flush());
  disk.reset();
  disk = Disk::open(files, "d/base.vhd", Access::read).value();
  REQUIRE(disk->read(0, part));
  CHECK(part[1000] == std::byte{0});
  CHECK(part[1024] == std::byte{5});
}

TEST_CASE("locators of every kind lead to the parent") {
  auto with = [](std::uint32_t code, const std::string& path, bool utf16, const std::string& name) {
    CrashFileSystem files;
    make_chain(files);
    Bytes data;
    for (char c : path) {
      data.push_back(static_cast<std::byte>(c));
      if (utf16) data.push_back(std::byte{0});
    }
    patch(files, "d/a.vhd", 1536 + 4096, data);  // in the room that children have for locators
    change_header(files, "d/a.vhd", [&](Header& h) {
      auto id = h.parent_id();
      h.set_parent(id, name);
      for (std::size_t i = 0; i < vdisk::vhd::kLocators; ++i) h.set_locator(i, 0, {});
      if (!path.empty()) h.set_locator(3, code, {1536 + 4096, data.size()});
    });
    return try_disk(files, "d/a.vhd");
  };
  using namespace vdisk::vhd;
  CHECK(with(kRelativeUnicode, ".\\base.vhd", true, "x").empty());
  CHECK(with(kRelativeUnicode, "..\\d\\base.vhd", true, "x").empty());
  CHECK(with(kAbsoluteUnicode, "C:\\disks\\base.vhd", true, "x").empty());
  CHECK(with(kRelativeAnsi, ".\\base.vhd", false, "x").empty());
  CHECK(with(kAbsoluteAnsi, "C:\\disks\\base.vhd", false, "x").empty());
  CHECK(with(kMacUrl, "file://localhost/disks/base%2Evhd", false, "x").empty());
  CHECK(with(0, "", false, "base.vhd").empty());
  CHECK(with(0, "", false, "C:\\other\\base.vhd").empty());
  CHECK(with(kRelativeUnicode, ".\\gone.vhd", true, "gone.vhd").find("missing") != std::string::npos);
  CHECK(with(0, "", false, "").find("no path") != std::string::npos);
}

TEST_CASE("a parent written to by a program that keeps the id is noticed by its time") {
  support::TemporaryDirectory directory;
  auto& files = os::real_file_system();
  auto base = directory / "base.vhd";
  auto child = directory / "a.vhd";
  REQUIRE(vdisk::create_disk(files, base, kSize, {.format = vdisk::Format::vhd}));
  REQUIRE(vdisk::create_child(files, base, child));
  auto now = files.modified_seconds(base).value();
  CHECK(std::abs(now - static_cast<std::int64_t>(std::time(nullptr))) < 60);
  auto note_time = [&](std::int64_t seconds) {
    change_header(files, child, [&](Header& h) { h.set_parent(h.parent_id(), "base.vhd", seconds); });
  };
  note_time(now);
  CHECK_FALSE(finds(files, child, "last written"));
  note_time(now - 3600);
  CHECK(finds(files, child, "last written"));
  CHECK(try_disk(files, child).empty());  // a copy may have changed the time
}

TEST_CASE("a lineage moves to a new place and back, again and again, without the file growing each time") {
  CrashFileSystem files;
  make_chain(files);
  auto before = size_of(files, "d/a.vhd");
  for (int i = 0; i < 20; ++i) {
    auto layer = vdisk::vhd::VhdLayer::open(files, "d/a.vhd", Access::write).value();
    auto lineage = layer->lineage();
    lineage.merged_path = i % 2 == 0 ? "x" + std::to_string(i) : "";
    REQUIRE(layer->set_lineage(lineage));
    CHECK(vdisk::vhd::VhdLayer::open(files, "d/a.vhd", Access::read).value()->lineage().merged_path ==
          lineage.merged_path);
  }
  CHECK(size_of(files, "d/a.vhd") <= before + 4096);
  CHECK(try_disk(files, "d/a.vhd").empty());
  CHECK_FALSE(vdisk::check_disk(files, "d/a.vhd")->has_errors());
}

namespace {

// Footers, header, locators' data, block table, bitmaps: numbers anywhere in them, mostly with checksums made
// right again, so that what they protect is reached.
void damage(os::FileSystem& files, const std::string& path, std::mt19937_64& random) {
  auto file = files.open(path, os::OpenMode::read_write).value();
  const auto size = file->size().value();
  for (auto changes = random() % 4; changes > 0; --changes) {
    const auto width = std::size_t{1} << random() % 4;
    const auto end = size - 512;
    const std::uint64_t places[] = {end + random() % 90,          random() % 90,
                                    512 + random() % 100,         512 + 576 + random() % 200,
                                    kBaseTable + random() % 40,   kBaseTable + 4096 + random() % 200,
                                    random() % (size / 512) * 512};
    const auto at = std::min(places[random() % std::size(places)], size - width);
    Bytes number(8);
    REQUIRE(file->read_exactly(at, MutableByteView(number).first(width)));
    const auto was = load_be<std::uint64_t>(number) >> (64 - 8 * width);
    store_be<std::uint64_t>(number, 0, support::awkward_number(random, was, width, size) << (64 - 8 * width));
    REQUIRE(file->write_at(at, ByteView(number).first(width)));
  }
  if (random() % 4 != 0) {
    Footer footer;
    Header header;
    for (const auto at : {std::uint64_t{0}, size - 512}) {
      REQUIRE(file->read_exactly(at, footer.bytes));
      footer.seal();
      REQUIRE(file->write_at(at, footer.bytes));
    }
    REQUIRE(file->read_exactly(512, header.bytes));
    header.seal();
    REQUIRE(file->write_at(512, header.bytes));
  }
  if (random() % 10 == 0) REQUIRE(file->truncate(random() % size));
}

}  // namespace

TEST_CASE(
    "whatever is damaged in a VHD chain, it is read, checked, written or refused by name within a second") {
  auto random = support::seeded_random();
  CrashFileSystem start;
  make_chain(start);
  std::size_t refused = 0;
  for (int round = 0; round < 600; ++round) {
    CAPTURE(round);
    auto files = start.clone();
    for (const auto* path : {"d/a.vhd", "d/base.vhd"}) damage(*files, path, random);
    support::HostileTrial trial("d/");
    for (const bool lenient : {false, true}) {
      vdisk::OpenOptions options;
      options.ignore_checksum = options.missing_parent = lenient;
      const auto disk = Disk::open(*files, "d/a.vhd", Access::read, options);
      if (!trial.note(disk)) continue;
      Bytes whole(std::min<std::uint64_t>((*disk)->size_bytes(), 8 << 20));
      trial.note((*disk)->read(0, whole));
      trial.note((*disk)->extents(0));
    }
    CHECK(vdisk::check_disk(*files, "d/a.vhd"));
    if (const auto disk = Disk::open(*files, "d/a.vhd", Access::write); trial.note(disk)) {
      trial.note((*disk)->write(1024, Bytes(70'144)));
      trial.note((*disk)->freeze());
      trial.note((*disk)->flush());
    }
    refused += trial.errors() != 0 ? 1 : 0;
  }
  CHECK(refused > 100);
}
