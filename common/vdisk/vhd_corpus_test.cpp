// VHD disks that Windows, Virtual PC and others made. ROAMSTEAD_CORPUS names a folder that has them below
// disks/; without it nothing is tested.
#include <doctest/doctest.h>

#include "common/vdisk/disk.h"
#include "common/vdisk/vhd_layer.h"
#include "tests/support/command.h"
#include "tests/support/corpus.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;

namespace {

os::FileSystem& files() { return os::real_file_system(); }

// A copy of the file, unpacked, or "" with a message.
std::string fetch(const support::TemporaryDirectory& directory, const std::string& name,
                  const std::string& with = "cat") {
  const auto packed = support::corpus("disks/" + name);
  if (packed.empty()) return "";
  auto base = os::base_name(name);
  auto path = directory / (with == "cat" ? base : base.substr(0, base.find_last_of('.')));
  REQUIRE(support::run(with + " < " + packed + " > " + path));
  return path;
}

std::unique_ptr<Disk> open(const std::string& path, const vdisk::OpenOptions& options = {}) {
  auto disk = Disk::open(files(), path, Access::read, options);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  return std::move(*disk);
}

// The disk and the file are equal as far as the file goes; beyond it the disk is zero, and at most `extra`
// bytes longer.
void compare(const Disk& disk, const std::string& raw, std::uint64_t extra = 0) {
  auto other = files().open(raw, os::OpenMode::read).value();
  auto size = other->size().value();
  CHECK(disk.size_bytes() >= size);
  CHECK(disk.size_bytes() - size <= extra);
  Bytes ours(1 << 20), theirs(1 << 20);
  for (std::uint64_t offset = 0; offset < disk.size_bytes(); offset += ours.size()) {
    auto count = std::min<std::uint64_t>(ours.size(), disk.size_bytes() - offset);
    std::fill(theirs.begin(), theirs.end(), std::byte{0});
    REQUIRE(disk.read(offset, MutableByteView(ours).first(count)));
    REQUIRE(other->read_at(offset, MutableByteView(theirs).first(count)));
    if (!std::equal(ours.begin(), ours.begin() + static_cast<std::ptrdiff_t>(count), theirs.begin()))
      FAIL("differs within the MiB at ", offset);
  }
}

bool tools() {
  if (support::run("command -v qemu-img >/dev/null 2>&1 && command -v 7zz >/dev/null 2>&1")) return true;
  MESSAGE("skipped: qemu-img or 7zz is not installed");
  return false;
}

}  // namespace

TEST_CASE("fixed and dynamic disks read as qemu-img and 7zz read them") {
  if (!tools()) return;
  for (auto [name, with] : {std::pair{"dissect/dissect-fixed.vhd.gz", "zcat"}, {"dfvfs/ext2.vhd", "cat"}}) {
    CAPTURE(name);
    support::TemporaryDirectory directory;
    auto path = fetch(directory, name, with);
    if (path.empty()) return;
    auto disk = open(path);
    auto raw = directory / "out.raw";
    REQUIRE(support::run("qemu-img convert -f vpc -O raw " + path + " " + raw));
    compare(*disk, raw);
    REQUIRE(support::run("7zz e -so -tvhd " + path + " > " + raw + " 2>/dev/null"));
    compare(*disk, raw);
  }
}

TEST_CASE("a disk of Virtual PC has the size of its footer; qemu-img's, by the geometry, is a part of it") {
  if (!tools()) return;
  support::TemporaryDirectory directory;
  auto path = fetch(directory, "qemu/virtualpc-dynamic.vhd.bz2", "bzcat");
  if (path.empty()) return;
  auto disk = open(path);
  CHECK(disk->size_bytes() == 136'365'211'648);
  auto raw = directory / "out.raw";  // sparse
  REQUIRE(support::run("qemu-img convert -f vpc -O raw " + path + " " + raw));
  CHECK(files().open(raw, os::OpenMode::read).value()->size().value() == 136'363'130'880);
  // Nothing is allocated beyond the first megabytes, so these are enough.
  CHECK(disk->extents(0).value().total_bytes() <= 16u << 20);
  auto other = files().open(raw, os::OpenMode::read).value();
  Bytes ours(64 << 20), theirs(64 << 20);
  REQUIRE(disk->read(0, ours));
  REQUIRE(other->read_exactly(0, theirs));
  CHECK(ours == theirs);
  REQUIRE(support::run("7zz e -so -tvhd " + path + " 2>/dev/null | head -c " + std::to_string(theirs.size()) +
                       " > " + raw));
  CHECK(os::read_file(files(), raw, theirs.size()).value() == ours);
}

TEST_CASE("wrong checksums are refused, and ignored on demand; the parent is then found by its name") {
  support::TemporaryDirectory directory;
  auto child = fetch(directory, "dfvfs/image-differential.vhd");
  auto parent = fetch(directory, "dfvfs/image.vhd");
  if (child.empty() || parent.empty()) return;
  for (const auto& path : {child, parent}) {
    auto refused = Disk::open(files(), path, Access::read);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::corrupt);
    CHECK(refused.error().message.find("checksum") != std::string::npos);
  }
  vdisk::OpenOptions options;
  options.ignore_checksum = true;
  auto disk = open(child, options);
  REQUIRE(disk->layers().size() == 2);
  Bytes ours(disk->size_bytes());
  REQUIRE(disk->read(0, ours));
  CHECK(ours.size() == 104'448);
  CHECK(load_le<std::uint16_t>(ours, 1024 + 56) == 0xef53);  // ext2's magic
  REQUIRE(files().make_directories(directory / "elsewhere"));
  REQUIRE(files().rename(parent, directory / "elsewhere/p.vhd"));
  CHECK(Disk::open(files(), child, Access::read, options).error().code == ErrorCode::not_found);
  options.parent = directory / "elsewhere/p.vhd";
  Bytes again(ours.size());
  REQUIRE(open(child, options)->read(0, again));
  CHECK(again == ours);
  CHECK(Disk::open(files(), child, Access::write, options).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("the chain with wrong checksums reads as 7zz reads it once they are made right") {
  if (!tools()) return;
  support::TemporaryDirectory directory;
  const auto child = fetch(directory, "dfvfs/image-differential.vhd");
  const auto parent = fetch(directory, "dfvfs/image.vhd");
  if (child.empty() || parent.empty()) return;
  vdisk::OpenOptions options;
  options.ignore_checksum = true;
  Bytes ours(104'448);
  REQUIRE(open(child, options)->read(0, ours));
  for (const auto& path : {child, parent}) {
    REQUIRE(support::run("chmod u+w " + path));
    auto file = files().open(path, os::OpenMode::read_write).value();
    const auto end = file->size().value() - 512;
    vdisk::vhd::Footer footer;
    vdisk::vhd::Header header;
    REQUIRE(file->read_exactly(end, footer.bytes));
    REQUIRE(file->read_exactly(512, header.bytes));
    footer.seal();
    header.seal();
    for (const auto offset : {std::uint64_t{0}, end}) REQUIRE(file->write_at(offset, footer.bytes));
    REQUIRE(file->write_at(512, header.bytes));
  }
  const auto out = directory / "out.raw";
  REQUIRE(support::run("7zz e -so -tvhd " + child + " > " + out + " 2>/dev/null"));
  CHECK(os::read_file(files(), out, 1 << 20).value() == ours);
  REQUIRE(open(child)->read(0, ours));
  CHECK(os::read_file(files(), out, 1 << 20).value() == ours);
}

TEST_CASE("a child made by Windows reads as 7zz reads it above a parent made for it") {
  if (!tools()) return;
  support::TemporaryDirectory directory;
  const auto path = fetch(directory, "dfvfs/fat-differential.vhd");
  if (path.empty()) return;
  const auto info = vdisk::inspect(files(), path).value();
  const auto parent = directory / "fat-parent.vhd";
  REQUIRE(vdisk::create_disk(files(), parent, info.virtual_bytes, {.format = vdisk::Format::vhd}));
  {
    auto disk = Disk::open(files(), parent, Access::write).value();
    Bytes content(info.virtual_bytes);
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i / 512 + 1);
    REQUIRE(disk->write(0, content));
    REQUIRE(disk->flush());
  }
  REQUIRE(
      vdisk::vhd::VhdLayer::open(files(), parent, Access::write).value()->set_id(info.parent_id).has_value());
  const auto out = directory / "out.raw";
  REQUIRE(support::run("7zz e -so -tvhd " + path + " > " + out + " 2>/dev/null"));
  compare(*open(path), out);
}

TEST_CASE("a child made by Windows whose parent is gone: the sectors it holds, and the parent by name") {
  support::TemporaryDirectory directory;
  auto path = fetch(directory, "dfvfs/fat-differential.vhd");
  if (path.empty()) return;
  auto info = vdisk::inspect(files(), path).value();
  CHECK(info.kind == vdisk::LayerKind::differencing);
  auto refused = Disk::open(files(), path, Access::read);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::not_found);
  CHECK(refused.error().message.find("fat-parent.vhd") != std::string::npos);
  CHECK(refused.error().message.find(info.parent_id.to_string()) != std::string::npos);
  vdisk::OpenOptions options;
  options.missing_parent = true;
  auto disk = open(path, options);
  auto held = disk->extents(0).value();
  // The block's bitmap has the bytes 02 01 cb a8 and others: exactly these sectors, not whole bytes of them.
  auto file = files().open(path, os::OpenMode::read).value();
  Bytes bitmap(512);
  REQUIRE(file->read_exactly(0x9f * 512, bitmap));
  for (std::uint64_t sector = 0; sector < 4096; ++sector) {
    bool here = (std::to_integer<unsigned>(bitmap[sector / 8]) >> (7 - sector % 8) & 1) != 0;
    CHECK(held.contains({sector * 512, 512}) == here);
    CHECK(held.overlaps({sector * 512, 512}) == here);
    Bytes ours(512), stored(512);
    auto read = disk->read(sector * 512, ours);
    REQUIRE(read.has_value() == here);
    if (!here) {
      CHECK(read.error().message.find("fat-parent.vhd") != std::string::npos);
      continue;
    }
    REQUIRE(file->read_exactly((0x9f + 1 + sector) * 512, stored));
    CHECK(ours == stored);
  }
}
