#include "coordinator/crosscheck/cross_check.h"

#include <doctest/doctest.h>

#include "common/vdisk/convert.h"
#include "common/vdisk/vhdx_layer.h"
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

TEST_CASE("a difference that no known fault explains is said to be one") {
  crosscheck::CrossCheck done;
  CHECK_FALSE(done.has_unknown());
  done.differences.push_back({{0, 512}, "known"});
  CHECK_FALSE(done.has_unknown());
  done.differences.push_back({{512, 512}, ""});
  CHECK(done.has_unknown());
}
