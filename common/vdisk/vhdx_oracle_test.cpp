// Independent programs read what we write, and we read what they write.
#include <doctest/doctest.h>

#include <fstream>

#include "common/vdisk/test_model.h"
#include "tests/support/command.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;

namespace {

Bytes file_content(const std::string& path) {
  return os::read_file(os::real_file_system(), path, std::uint64_t{1} << 30).value();
}

// Random content, the model of which is returned, in the disk at `path`.
void scribble(Disk& disk, vdisk::Model& model, std::mt19937_64& random, int writes) {
  for (int i = 0; i < writes; ++i) model.write_random(disk, random);
  REQUIRE(disk.flush());
}

void check_with_7zz(const std::string& path, const vdisk::Model& model, const std::string& out) {
  REQUIRE(support::run("7zz e -so -tvhdx " + path + " > " + out + " 2>/dev/null"));
  CHECK(file_content(out) == model.bytes());
}

}  // namespace

TEST_CASE("7zz reads our disks, children, frozen layers and merged ones as we do") {
  if (!support::available("7zz")) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  auto& files = os::real_file_system();
  constexpr std::uint64_t kSize = 37 * 1024 * 1024 + 3 * 4096;  // 7zz refuses sizes that are not whole 4 KiB
  auto base = directory / "base.vhdx";
  auto path = directory / "a.vhdx";
  auto out = directory / "out";
  REQUIRE(vdisk::create_disk(files, base, kSize));
  vdisk::Model model(kSize);
  scribble(*Disk::open(files, base, Access::write).value(), model, random, 30);
  check_with_7zz(base, model, out);
  REQUIRE(vdisk::create_child(files, base, path));
  check_with_7zz(path, model, out);
  scribble(*Disk::open(files, path, Access::write).value(), model, random, 30);
  check_with_7zz(path, model, out);
  auto disk = Disk::open(files, path, Access::write).value();
  auto lower = disk->freeze().value().frozen_path;
  auto lower_model = model;
  scribble(*disk, model, random, 10);
  auto upper = disk->freeze().value().frozen_path;
  auto upper_model = model;
  scribble(*disk, model, random, 10);
  check_with_7zz(lower, lower_model, out);
  check_with_7zz(upper, upper_model, out);
  REQUIRE(disk->merge(1));
  check_with_7zz(upper, upper_model, out);
  disk.reset();  // 7zz reads no disk whose log is in use
  check_with_7zz(path, model, out);
}

TEST_CASE("qemu-img reads our disks and finds nothing wrong with them") {
  if (!support::available("qemu-img")) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  constexpr std::uint64_t kSize = 70 * 1024 * 1024;
  for (std::uint32_t block_bytes : {1u << 20, 2u << 20, 32u << 20}) {
    auto path = directory / ("a" + std::to_string(block_bytes) + ".vhdx");
    auto out = directory / "out";
    REQUIRE(vdisk::create_disk(os::real_file_system(), path, kSize, {block_bytes}));
    vdisk::Model model(kSize);
    scribble(*Disk::open(os::real_file_system(), path, Access::write).value(), model, random, 25);
    REQUIRE(support::run("qemu-img convert -f vhdx -O raw " + path + " " + out + " 2>/dev/null"));
    CHECK(file_content(out) == model.bytes());
    CHECK(support::run("qemu-img check -f vhdx " + path + " >/dev/null 2>&1"));
  }
}

TEST_CASE("we read qemu's dynamic and fixed disks, and make children of them") {
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
  REQUIRE(os::write_file_durably(os::real_file_system(), raw, start.bytes()));
  for (const char* kind : {"dynamic", "fixed"}) {
    CAPTURE(kind);
    auto model = start;
    auto base = directory / (std::string(kind) + ".vhdx");
    auto child = directory / (std::string(kind) + "-child.vhdx");
    REQUIRE(support::run("qemu-img convert -f raw -O vhdx -o subformat=" + std::string(kind) + " " + raw +
                         " " + base));
    model.check(*Disk::open(os::real_file_system(), base, Access::read).value());
    REQUIRE(vdisk::create_child(os::real_file_system(), base, child));
    auto disk = Disk::open(os::real_file_system(), child, Access::write).value();
    scribble(*disk, model, random, 20);
    model.check(*disk);
    disk.reset();
    check_with_7zz(child, model, directory / "out");
  }
}

TEST_CASE("vhdiinfo opens our disks and names the parent of a child") {
  if (!support::available("vhdiinfo")) return;
  support::TemporaryDirectory directory;
  auto base = directory / "base.vhdx";
  auto child = directory / "child.vhdx";
  REQUIRE(vdisk::create_disk(os::real_file_system(), base, 10 << 20));
  REQUIRE(vdisk::create_child(os::real_file_system(), base, child));
  auto id = vdisk::inspect(os::real_file_system(), base).value().id.to_string();
  CHECK(support::run("vhdiinfo " + base + " | grep -qi 'Identifier.*" + id + "'"));
  CHECK(support::run("vhdiinfo " + child + " | grep -qi 'Parent identifier.*" + id + "'"));
}
