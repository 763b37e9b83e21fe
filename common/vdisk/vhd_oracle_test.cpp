// Independent programs read the VHD files we write, and we read those they write. qemu-img ignores the parent
// of a differencing VHD, so children are judged by 7zz; libvhdi misreads partly set bitmap bytes.
#include <doctest/doctest.h>

#include "common/vdisk/test_model.h"
#include "tests/support/command.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;

namespace {

os::FileSystem& files() { return os::real_file_system(); }

Bytes file_content(const std::string& path) {
  return os::read_file(files(), path, std::uint64_t{1} << 30).value();
}

void scribble(Disk& disk, vdisk::Model& model, std::mt19937_64& random, int writes) {
  for (int i = 0; i < writes; ++i) model.write_random(disk, random);
  REQUIRE(disk.flush());
}

void check_with_7zz(const std::string& path, const vdisk::Model& model, const std::string& out) {
  REQUIRE(support::run("7zz e -so -tvhd " + path + " > " + out + " 2>/dev/null"));
  CHECK(file_content(out) == model.bytes());
}

void check_with_qemu(const std::string& path, const vdisk::Model& model, const std::string& out) {
  REQUIRE(support::run("qemu-img convert -f vpc -O raw " + path + " " + out + " 2>/dev/null"));
  CHECK(file_content(out) == model.bytes());
}

std::unique_ptr<Disk> open(const std::string& path, Access access) {
  auto disk = Disk::open(files(), path, access);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  return std::move(*disk);
}

}  // namespace

TEST_CASE("7zz reads our VHD disks, children, frozen layers and merged ones as we do") {
  if (!support::available("7zz")) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  constexpr std::uint64_t kSize = 37 * 1024 * 1024 + 3 * 512;
  auto base = directory / "base.vhd";
  auto path = directory / "a.vhd";
  auto out = directory / "out";
  REQUIRE(vdisk::create_disk(files(), base, kSize, {.format = vdisk::Format::vhd}));
  vdisk::Model model(kSize);
  scribble(*open(base, Access::write), model, random, 30);
  check_with_7zz(base, model, out);
  REQUIRE(vdisk::create_child(files(), base, path));
  check_with_7zz(path, model, out);
  auto disk = open(path, Access::write);
  scribble(*disk, model, random, 30);
  check_with_7zz(path, model, out);
  auto lower = disk->freeze().value().frozen_path;
  auto lower_model = model;
  scribble(*disk, model, random, 10);
  auto upper = disk->freeze().value().frozen_path;
  auto upper_model = model;
  scribble(*disk, model, random, 10);
  check_with_7zz(lower, lower_model, out);
  check_with_7zz(upper, upper_model, out);
  check_with_7zz(path, model, out);
  REQUIRE(disk->merge(1));
  check_with_7zz(upper, upper_model, out);
  check_with_7zz(path, model, out);
}

TEST_CASE("qemu-img reads our VHD disks, of every block size, dynamic and fixed") {
  if (!support::available("qemu-img")) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  constexpr std::uint64_t kSize = 35 * 1024 * 1024 + 512;
  for (std::uint32_t block_bytes : {512u << 10, 1u << 20, 2u << 20, 16u << 20}) {
    CAPTURE(block_bytes);
    auto path = directory / ("a" + std::to_string(block_bytes) + ".vhd");
    REQUIRE(
        vdisk::create_disk(files(), path, kSize, {.block_bytes = block_bytes, .format = vdisk::Format::vhd}));
    vdisk::Model model(kSize);
    scribble(*open(path, Access::write), model, random, 25);
    check_with_qemu(path, model, directory / "out");
    if (support::available("7zz")) check_with_7zz(path, model, directory / "out");
    model.check(*open(path, Access::read));
  }
  auto fixed = directory / "fixed.vhd";
  REQUIRE(vdisk::create_disk(files(), fixed, kSize,
                             {.kind = vdisk::LayerKind::fixed, .format = vdisk::Format::vhd}));
  vdisk::Model model(kSize);
  scribble(*open(fixed, Access::write), model, random, 25);
  check_with_qemu(fixed, model, directory / "out");
  CHECK(files().open(fixed, os::OpenMode::read).value()->size().value() == kSize + 512);
}

TEST_CASE("we read qemu's dynamic and fixed VHD disks, and make children of them") {
  if (!support::available("qemu-img") || !support::available("7zz")) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  constexpr std::uint64_t kSize = 33 * 1024 * 1024;
  auto raw = directory / "in.raw";
  vdisk::Model start(kSize);
  for (int i = 0; i < 20; ++i) {
    auto [offset, data] = start.random_write(random);
    start.apply(offset, data);
  }
  REQUIRE(os::write_file_durably(files(), raw, start.bytes()));
  for (std::string kind : {"dynamic", "fixed"}) {
    CAPTURE(kind);
    auto model = start;
    auto base = directory / (kind + ".vhd");
    auto child = directory / (kind + "-child.vhd");
    REQUIRE(support::run("qemu-img convert -f raw -O vpc -o force_size=on,subformat=" + kind + " " + raw +
                         " " + base));
    model.check(*open(base, Access::read));
    REQUIRE(vdisk::create_child(files(), base, child));
    auto disk = open(child, Access::write);
    scribble(*disk, model, random, 20);
    model.check(*disk);
    check_with_7zz(child, model, directory / "out");
    auto frozen = disk->freeze();
    REQUIRE_MESSAGE(frozen, frozen.error().to_string());
    scribble(*disk, model, random, 5);
    check_with_7zz(child, model, directory / "out");
  }
}

TEST_CASE("vhdiinfo opens our VHD disks and sees whose child is whose") {
  if (!support::available("vhdiinfo")) return;
  support::TemporaryDirectory directory;
  auto base = directory / "base.vhd";
  auto child = directory / "child.vhd";
  REQUIRE(vdisk::create_disk(files(), base, 10 << 20, {.format = vdisk::Format::vhd}));
  REQUIRE(vdisk::create_child(files(), base, child));
  // vhdiinfo shows the id's bytes in their order in the file.
  auto id = vdisk::inspect(files(), base).value().id;
  std::string hex;
  for (auto byte : id.bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    hex += kDigits[std::to_integer<unsigned>(byte) >> 4];
    hex += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  CHECK(support::run("vhdiinfo " + base + " | tr -d - | grep -qi '^.Identifier.*" + hex + "'"));
  CHECK(support::run("vhdiinfo " + child + " | tr -d - | grep -qi 'Parent identifier.*" + hex + "'"));
  CHECK(support::run("vhdiinfo " + child + " | grep -q 'Parent filename.*base.vhd'"));
}
