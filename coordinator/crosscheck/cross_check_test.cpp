#include "coordinator/crosscheck/cross_check.h"

#include <doctest/doctest.h>

#include "common/vdisk/convert.h"
#include "common/vdisk/vhdx_layer.h"
#include "common/vdisk/vhdx_log.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;

namespace {

os::FileSystem& files() { return os::real_file_system(); }

crosscheck::CrossCheck check(const std::string& path) {
  auto done = crosscheck::cross_check(files(), path);
  REQUIRE_MESSAGE(done, done.error().to_string());
  return std::move(*done);
}

void fill(const std::string& path, std::uint64_t offset, std::uint64_t length, std::uint8_t value) {
  auto disk = Disk::open(files(), path, Access::write).value();
  REQUIRE(disk->write(offset, Bytes(length, static_cast<std::byte>(value))));
  REQUIRE(disk->flush());
}

}  // namespace

TEST_CASE("libvhdi agrees with us on what it reads right") {
  support::TemporaryDirectory directory;
  for (auto format : {vdisk::Format::vhd, vdisk::Format::vhdx}) {
    auto suffix = "." + std::string(to_string(format));
    auto base = directory / ("base" + suffix);
    auto child = directory / ("child" + suffix);
    REQUIRE(vdisk::create_disk(files(), base, 20 << 20, {.format = format}));
    fill(base, 1 << 20, 6 << 20, 0x11);
    REQUIRE(vdisk::create_child(files(), base, child));
    fill(child, 3 << 20, 64 << 10, 0x22);
    auto done = check(child);
    CHECK_FALSE(done.unreadable);
    CHECK(done.compared_bytes == 20 << 20);
    CHECK(done.differences.empty());
  }
}

TEST_CASE("libvhdi's fault with partly set bytes of a VHD's bitmap is met and named") {
  support::TemporaryDirectory directory;
  REQUIRE(vdisk::create_disk(files(), directory / "base.vhd", 4 << 20, {.format = vdisk::Format::vhd}));
  fill(directory / "base.vhd", 0, 4 << 20, 0x11);
  REQUIRE(vdisk::create_child(files(), directory / "base.vhd", directory / "child.vhd"));
  fill(directory / "child.vhd", 9 * 512, 512, 0x22);  // the second bit of a byte
  auto done = check(directory / "child.vhd");
  REQUIRE(done.differences.size() == 1);
  CHECK(done.differences[0].range == ByteRange{10 * 512, 6 * 512});
  CHECK(done.differences[0].known.find("bitmap") != std::string::npos);
  CHECK_FALSE(done.has_unknown());
}

TEST_CASE("libvhdi's fault with the second chunk of a fixed VHDX is met and named") {
  support::TemporaryDirectory directory;
  auto path = directory / "base.vhdx";
  constexpr std::uint64_t kFourGiB = std::uint64_t{4} << 30;
  REQUIRE(vdisk::create_disk(files(), path, kFourGiB + (8 << 20)));
  fill(path, kFourGiB, 1 << 20, 0x33);
  {  // Called fixed, so that nobody needs 4 GiB: the flag behind the block size in its metadata.
    auto file = files().open(path, os::OpenMode::read_write).value();
    constexpr std::uint64_t kFileParameters = (2 << 20) + (64 << 10);
    Bytes parameters(8);
    REQUIRE(file->read_exactly(kFileParameters, parameters));
    REQUIRE(load_le<std::uint64_t>(parameters) == 2u << 20);
    parameters[4] = std::byte{1};
    REQUIRE(file->write_at(kFileParameters, parameters));
  }
  auto done = check(path);
  REQUIRE_FALSE(done.differences.empty());
  CHECK(done.differences[0].range.offset >= kFourGiB);
  CHECK(done.differences[0].known.find("second chunk") != std::string::npos);
  CHECK_FALSE(done.has_unknown());
}

TEST_CASE("a VHDX with one damaged header is read by us, and libvhdi's refusal is named") {
  support::TemporaryDirectory directory;
  auto path = directory / "a.vhdx";
  REQUIRE(vdisk::create_disk(files(), path, 4 << 20));
  fill(path, 0, 4096, 0x44);
  REQUIRE(files().open(path, os::OpenMode::read_write).value()->write_at(64 << 10, Bytes(4096)));
  auto done = check(path);
  REQUIRE(done.unreadable);
  CHECK(done.known.find("header") != std::string::npos);
  CHECK_FALSE(done.has_unknown());
}

namespace {

// A VHDX of 8 MiB full of 0x11, and a child of it that holds nothing yet.
std::string make_vhdx_child(const support::TemporaryDirectory& directory) {
  const auto base = directory / "base.vhdx", child = directory / "child.vhdx";
  REQUIRE(vdisk::create_disk(files(), base, 8 << 20));
  fill(base, 0, 8 << 20, 0x11);
  REQUIRE(vdisk::create_child(files(), base, child));
  return child;
}

// An entry of the block table, which has no checksum.
void set_entry(const std::string& path, std::uint64_t index, std::uint64_t value) {
  auto file = files().open(path, os::OpenMode::read_write).value();
  const auto header = vdisk::vhdx::read_header(*file).value().header;
  const auto table = vdisk::vhdx::read_regions(*file, header).value().bat.offset;
  Bytes entry(8);
  store_le<std::uint64_t>(entry, 0, value);
  REQUIRE(file->write_at(table + index * 8, entry));
}

}  // namespace

TEST_CASE("libvhdi's fault with a VHDX child's chunk without a bitmap block is met and named") {
  support::TemporaryDirectory directory;
  const auto child = make_vhdx_child(directory);
  CHECK(check(child).differences.empty());  // ours has one, for the sake of such readers
  set_entry(child, 2048, 0);                // the first chunk's; none of its blocks is present
  auto done = check(child);
  REQUIRE_FALSE(done.differences.empty());
  for (const auto& each : done.differences) {
    CHECK(each.known.find("no bitmap block") != std::string::npos);
    CHECK(each.range.end() <= 2 << 20);  // where "vhdxfile" and the creator's name are taken for bits
  }
  CHECK_FALSE(done.has_unknown());
}

TEST_CASE("libvhdi's fault with blocks of the state zero in a VHDX child is met and named") {
  support::TemporaryDirectory directory;
  const auto child = make_vhdx_child(directory);
  fill(child, 512, 512, 0x22);  // a bitmap block
  set_entry(child, 2, vdisk::vhdx::BlockTable::zero);
  auto done = check(child);
  REQUIRE(done.differences.size() == 1);
  CHECK(done.differences[0].range == ByteRange{4 << 20, 2 << 20});
  CHECK(done.differences[0].known.find("state zero") != std::string::npos);
  CHECK_FALSE(done.has_unknown());
}

TEST_CASE("libvhdi's fault with a log that was left open is met and named") {
  support::TemporaryDirectory directory;
  const auto path = directory / "used.vhdx", left = directory / "left.vhdx";
  REQUIRE(vdisk::create_disk(files(), path, 8 << 20));
  auto disk = Disk::open(files(), path, Access::write).value();
  REQUIRE(disk->write(0, Bytes(4096, std::byte{0x11})));
  REQUIRE(disk->flush());
  const auto before = os::read_file(files(), path, 1 << 30).value();
  REQUIRE(disk->write(4 << 20, Bytes(4096, std::byte{0x22})));
  REQUIRE(disk->flush());
  // As a power loss leaves it: the block table's change has reached the log and not its place.
  REQUIRE(os::write_file_durably(files(), left, os::read_file(files(), path, 1 << 30).value()));
  {
    auto file = files().open(left, os::OpenMode::read_write).value();
    const auto header = vdisk::vhdx::read_header(*file).value().header;
    REQUIRE_FALSE(header.log_guid.is_zero());
    const auto log = vdisk::vhdx::read_log(*file, header).value();
    REQUIRE_FALSE(log.pages.empty());
    for (const auto& [offset, content] : log.pages)
      REQUIRE(
          file->write_at(offset, ByteView(before).subspan(static_cast<std::size_t>(offset), content.size())));
  }
  auto done = check(left);
  REQUIRE(done.differences.size() == 1);
  CHECK(done.differences[0].range == ByteRange{4 << 20, 4096});
  CHECK(done.differences[0].known.find("log") != std::string::npos);
  CHECK_FALSE(done.has_unknown());
}

TEST_CASE("a difference that no known fault explains is said to be one") {
  crosscheck::CrossCheck done;
  CHECK_FALSE(done.has_unknown());
  done.differences.push_back({{0, 512}, "known"});
  CHECK_FALSE(done.has_unknown());
  done.differences.push_back({{512, 512}, ""});
  CHECK(done.has_unknown());
}
