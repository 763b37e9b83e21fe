// qemu-img reads, checks and compares the qcow2 files we write, and we read and write those it makes.
#include <doctest/doctest.h>

#include <cstdlib>

#include "common/vdisk/test_model.h"
#include "tests/support/command.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;
using vdisk::Format;
using vdisk::Model;

namespace {

os::FileSystem& files() { return os::real_file_system(); }

Bytes file_content(const std::string& path) {
  return os::read_file(files(), path, std::uint64_t{1} << 30).value();
}

std::unique_ptr<Disk> open(const std::string& path, Access access) {
  auto disk = Disk::open(files(), path, access);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  return std::move(*disk);
}

void scribble(Disk& disk, Model& model, std::mt19937_64& random, int writes) {
  for (int i = 0; i < writes; ++i) model.write_random(disk, random);
  REQUIRE(disk.flush());
}

void check_with_qemu(const std::string& path, const Model& model, const std::string& raw) {
  CHECK_MESSAGE(support::run_quietly("qemu-img check -f qcow2 " + path), "qemu-img check ", path);
  REQUIRE(os::write_file_durably(files(), raw, model.bytes()));
  CHECK_MESSAGE(support::run_quietly("qemu-img compare -f qcow2 -F raw " + path + " " + raw),
                "qemu-img compare ", path);
}

// "depth start length" of what qemu-img map says, as a set of what the top file holds.
RangeSet mapped_by_qemu(const std::string& path, const std::string& scratch) {
  REQUIRE(std::system(("qemu-img map -f qcow2 --output=json " + path +
                       " | sed -n 's/.*\"start\": \\([0-9]*\\), \"length\": \\([0-9]*\\), \"depth\": "
                       "\\([0-9]*\\), \"present\": \\([a-z]*\\).*/\\1 \\2 \\3 \\4/p' >" +
                       scratch)
                          .c_str()) == 0);
  auto content = file_content(scratch);
  std::istringstream lines{std::string(as_text(content))};
  RangeSet held;
  std::uint64_t start = 0, length = 0;
  int depth = 0;
  std::string present;
  while (lines >> start >> length >> depth >> present)
    if (depth == 0 && present == "true") held.add({start, length});
  return held;
}

}  // namespace

TEST_CASE("qemu-img finds our qcow2 disks of every cluster size in order and reads them as we do") {
  if (!support::available("qemu-img")) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  for (std::uint32_t bits = 9; bits <= 21; ++bits) {
    CAPTURE(bits);
    auto size = (bits == 9 ? 3u << 20 : 35u << 20) + 3 * 512;
    auto path = directory / ("a" + std::to_string(bits) + ".qcow2");
    REQUIRE(vdisk::create_disk(files(), path, size, {.block_bytes = 1u << bits, .format = Format::qcow2}));
    Model model(size);
    check_with_qemu(path, model, directory / "raw");
    for (int round = 0; round < 3; ++round) {
      scribble(*open(path, Access::write), model, random, 8);
      check_with_qemu(path, model, directory / "raw");
    }
    auto disk = open(path, Access::read);
    model.check(*disk);
    CHECK(disk->extents(0).value() == mapped_by_qemu(path, directory / "map"));
  }
}

TEST_CASE("chains of up to eight qcow2 layers, frozen and merged at random, are what qemu-img reads") {
  if (!support::available("qemu-img")) return;
  auto random = support::seeded_random();
  constexpr std::size_t kDeepest = 8;
  std::size_t deepest = 0;
  for (int round = 0; round < 2; ++round) {
    support::TemporaryDirectory directory;
    std::uint64_t size = (4u << 20) + random() % 2000 * 512;
    auto base = directory / "base.qcow2";
    auto path = directory / "a.qcow2";
    REQUIRE(vdisk::create_disk(files(), base, size,
                               {.block_bytes = 512u << random() % 8, .format = Format::qcow2}));
    Model model(size);
    scribble(*open(base, Access::write), model, random, 10);
    REQUIRE(vdisk::create_child(files(), base, path));
    std::vector<std::pair<std::string, Model>> frozen;  // from the lowest up
    auto disk = open(path, Access::write);
    for (int step = 0; step < 30; ++step) {
      scribble(*disk, model, random, 2);
      const bool grow = step < 12 || random() % 3 != 0;
      if (grow && disk->layers().size() < kDeepest) {
        auto result = disk->freeze();
        REQUIRE_MESSAGE(result, result.error().to_string());
        frozen.emplace_back(result->frozen_path, model);
      } else if (frozen.size() >= 2) {
        auto index = 1 + random() % (frozen.size() - 1);  // of the upper one
        auto merged = disk->merge(index);
        REQUIRE_MESSAGE(merged, merged.error().to_string());
        frozen.erase(frozen.end() - static_cast<std::ptrdiff_t>(index) - 1);
      }
      deepest = std::max(deepest, disk->layers().size());
    }
    model.check(*disk);
    CHECK(disk->layers().size() == frozen.size() + 2);
    check_with_qemu(path, model, directory / "raw");
    for (const auto& [name, state] : frozen) {
      check_with_qemu(name, state, directory / "raw");
      state.check(*open(name, Access::read));
    }
    CHECK(disk->extents(0).value() == mapped_by_qemu(path, directory / "map"));
  }
  CHECK(deepest == kDeepest);
}

TEST_CASE("we read and write what qemu-img and qemu-io make, of both versions and odd refcounts") {
  if (!support::available("qemu-img") || !support::available("qemu-io")) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  constexpr std::uint64_t kSize = 9 << 20;
  int number = 0;
  for (std::string options :
       {"compat=0.10", "compat=1.1", "compat=1.1,cluster_size=512", "compat=0.10,cluster_size=2M",
        "compat=1.1,refcount_bits=1", "compat=1.1,refcount_bits=4,cluster_size=4k",
        "compat=1.1,refcount_bits=64", "compat=1.1,lazy_refcounts=on", "compat=1.1,preallocation=metadata"}) {
    CAPTURE(options);
    auto stem = directory / std::to_string(number++);
    auto base = stem + "base.qcow2";
    auto path = stem + ".qcow2";
    REQUIRE(support::run_quietly("qemu-img create -f qcow2 -o " + options + " " + base + " 9M"));
    Model model(kSize);
    REQUIRE(
        support::run_quietly("qemu-io -f qcow2 -c 'write -P 17 100k 300k' -c 'write -P 18 5M 70k' " + base));
    model.apply(100 << 10, Bytes(300 << 10, std::byte{17}));
    model.apply(5 << 20, Bytes(70 << 10, std::byte{18}));
    model.check(*open(base, Access::read));
    scribble(*open(base, Access::write), model, random, 10);
    check_with_qemu(base, model, stem + "raw");
    // A child of qemu's, with zeroed clusters, some of which keep their place in the file.
    REQUIRE(
        support::run_quietly("qemu-img create -f qcow2 -F qcow2 -b " + base + " -o cluster_size=4k " + path));
    REQUIRE(support::run_quietly(
        "qemu-io -f qcow2 -c 'write -P 19 1M 1M' -c 'write -z 1200k 100k' -c 'write -z 5M 40k' " + path));
    model.apply(1 << 20, Bytes(1 << 20, std::byte{19}));
    model.apply(1200 << 10, Bytes(100 << 10));
    model.apply(5 << 20, Bytes(40 << 10));
    auto disk = open(path, Access::write);
    model.check(*disk);
    CHECK(disk->extents(0).value() == mapped_by_qemu(path + " -U", stem + "map"));
    scribble(*disk, model, random, 10);
    REQUIRE(disk->freeze());
    scribble(*disk, model, random, 5);
    disk.reset();
    check_with_qemu(path, model, stem + "raw");
    // qemu goes on where we stopped.
    REQUIRE(support::run_quietly("qemu-io -f qcow2 -c 'write -P 20 3M 2M' " + path));
    model.apply(3 << 20, Bytes(2 << 20, std::byte{20}));
    model.check(*open(path, Access::read));
  }
}

TEST_CASE("a qcow2 child of a raw, a VHD and a VHDX parent") {
  if (!support::available("qemu-img")) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  constexpr std::uint64_t kSize = 6 << 20;
  for (auto format : {Format::raw, Format::vhd, Format::vhdx}) {
    auto name = std::string(to_string(format));
    CAPTURE(name);
    auto base = directory / ("base." + name);
    auto path = directory / (name + ".qcow2");
    Model model(kSize);
    if (format == Format::raw)
      REQUIRE(os::write_file_durably(files(), base, Bytes(kSize)));
    else
      REQUIRE(vdisk::create_disk(files(), base, kSize, {.format = format}));
    scribble(*open(base, Access::write), model, random, 8);
    REQUIRE(vdisk::create_child(files(), base, path));
    auto disk = open(path, Access::write);
    model.check(*disk);
    scribble(*disk, model, random, 8);
    REQUIRE(disk->freeze());
    scribble(*disk, model, random, 8);
    model.check(*disk);
    CHECK(disk->layers().back().format == format);
    check_with_qemu(path, model, directory / "raw");
  }
  // A frozen differencing VHDX beneath, merged into the qcow2 above it.
  auto lower = directory / "mixed.vhdx";
  auto path = directory / "mixed.qcow2";
  REQUIRE(vdisk::create_child(files(), directory / "base.vhdx", lower));
  Model model(kSize);
  {
    auto disk = open(lower, Access::write);
    Bytes whole(kSize);
    REQUIRE(disk->read(0, whole));
    model.apply(0, whole);
    scribble(*disk, model, random, 10);
  }
  REQUIRE(vdisk::create_child(files(), lower, path));
  auto disk = open(path, Access::write);
  scribble(*disk, model, random, 3);
  REQUIRE(disk->freeze());
  scribble(*disk, model, random, 3);
  auto merged = disk->merge(1);
  REQUIRE_MESSAGE(merged, merged.error().to_string());
  CHECK(disk->layers().size() == 3);
  CHECK_FALSE(files().exists(lower).value());
  model.check(*disk);
  check_with_qemu(path, model, directory / "raw");
}

TEST_CASE("a qcow2 has an id that each writing renews; QEMU's writing takes it away, its reading does not") {
  if (!support::available("qemu-io") || !support::available("qemu-img")) return;
  support::TemporaryDirectory directory;
  const auto path = directory / "a.qcow2";
  const auto id = [&] { return vdisk::inspect(files(), path).value().id; };
  const auto write = [&](unsigned value) {
    auto disk = Disk::open(files(), path, Access::write).value();
    REQUIRE(disk->write(0, Bytes(4096, static_cast<std::byte>(value))));
    REQUIRE(disk->flush());
  };
  REQUIRE(vdisk::create_disk(files(), path, 4 << 20, {.format = vdisk::Format::qcow2}));
  const auto made = id();
  CHECK_FALSE(made.is_zero());
  write(1);
  const auto written = id();
  CHECK_FALSE(written.is_zero());
  CHECK(written != made);
  REQUIRE(Disk::open(files(), path, Access::write));  // nothing is written
  REQUIRE(support::run_quietly("qemu-img check " + path));
  REQUIRE(support::run_quietly("qemu-io -r -c 'read -P 1 0 4k' " + path));
  CHECK(id() == written);
  REQUIRE(support::run_quietly("qemu-io -c 'write -P 2 4k 4k' " + path));
  CHECK(id().is_zero());
  write(3);
  CHECK_FALSE(id().is_zero());
  CHECK(id() != written);
  REQUIRE(support::run_quietly("qemu-img check " + path));
  REQUIRE(support::run_quietly("qemu-io -c 'read -P 2 4k 4k' -c 'read -P 3 0 4k' " + path));
  // A file of QEMU's own, with its names of features and a parent: there is room for the id.
  REQUIRE(support::run_quietly("qemu-img create -f qcow2 -b a.qcow2 -F qcow2 " + (directory / "b.qcow2")));
  CHECK(vdisk::inspect(files(), directory / "b.qcow2").value().id.is_zero());
  REQUIRE(Disk::open(files(), directory / "b.qcow2", Access::write).value()->write(0, Bytes(65536)));
  CHECK_FALSE(vdisk::inspect(files(), directory / "b.qcow2").value().id.is_zero());
  REQUIRE(support::run_quietly("qemu-img check " + (directory / "b.qcow2")));
  CHECK(support::run_quietly("qemu-img info " + (directory / "b.qcow2") +
                             " | grep -q 'backing file: a.qcow2'"));
}
