// Disks that qemu-img made in other formats, read through qemu-nbd.
#include "coordinator/foreign/nbd_disk.h"

#include <doctest/doctest.h>

#include "common/vdisk/convert.h"
#include "common/vdisk/foreign.h"
#include "common/vdisk/test_model.h"
#include "coordinator/foreign/command.h"
#include "tests/support/command.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using vdisk::Disk;

namespace {

os::FileSystem& files() { return os::real_file_system(); }

bool have_qemu() { return support::available("qemu-nbd") && support::available("qemu-io"); }

std::unique_ptr<Disk> open(const std::string& path) {
  auto disk = foreign::open_any_disk(files(), path);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  return std::move(*disk);
}

// Random content with holes, as raw bytes and as the file at `path`.
Bytes make_raw(const std::string& path, std::mt19937_64& random) {
  constexpr std::uint64_t kSize = 9 * (1u << 20) + 4096;
  vdisk::Model model(kSize);
  for (int i = 0; i < 12; ++i) {
    auto [offset, data] = model.random_write(random);
    model.apply(offset, data);
  }
  REQUIRE(os::write_file_durably(files(), path, model.bytes()));
  return to_bytes(model.bytes());
}

void check_content(const Disk& disk, const Bytes& expected, std::mt19937_64& random) {
  REQUIRE(disk.size_bytes() == expected.size());
  Bytes whole(expected.size());
  REQUIRE(disk.read(0, whole));
  CHECK(whole == expected);
  for (int i = 0; i < 50; ++i) {
    const auto offset = random() % expected.size();
    Bytes part(random() % std::min<std::uint64_t>(expected.size() - offset, 70'000) + 1);
    auto done = disk.read(offset, part);
    REQUIRE_MESSAGE(done, done.error().to_string());
    CHECK(std::equal(part.begin(), part.end(), expected.begin() + static_cast<std::ptrdiff_t>(offset)));
  }
  CHECK(disk.read(expected.size(), whole).error().code == ErrorCode::invalid_argument);
}

}  // namespace

TEST_CASE("disks of other formats read as the raw disk they were made of, and convert to ours") {
  if (!have_qemu()) return;
  auto random = support::seeded_random();
  support::TemporaryDirectory directory;
  const auto expected = make_raw(directory / "plain.raw", random);
  struct Kind {
    std::string name, options;
  };
  for (const auto& kind : {Kind{"a.vmdk", "-O vmdk"}, Kind{"b.vmdk", "-O vmdk -o subformat=streamOptimized"},
                           Kind{"c.vmdk", "-O vmdk -o subformat=twoGbMaxExtentSparse"},
                           Kind{"d.vdi", "-O vdi"}, Kind{"e.qed", "-O qed"}, Kind{"f.hdd", "-O parallels"}}) {
    CAPTURE(kind.options);
    const auto path = directory / kind.name;
    REQUIRE(support::run_quietly("qemu-img convert -f raw " + kind.options + " " + directory / "plain.raw" +
                                 " " + path));
    const auto disk = open(path);
    check_content(*disk, expected, random);
    const auto layers = disk->layers();
    REQUIRE(layers.size() == 1);
    CHECK(layers[0].format == vdisk::Format::foreign);
    CHECK(kind.options.find(layers[0].foreign_format) != std::string::npos);
    // What is not in the layer is zero.
    auto held = disk->extents(0).value();
    CHECK(held.total_bytes() <= expected.size());
    for (std::uint64_t at = 0; at < expected.size(); at += 512)
      if (!held.overlaps({at, 512}))
        REQUIRE(std::all_of(expected.begin() + static_cast<std::ptrdiff_t>(at),
                            expected.begin() + static_cast<std::ptrdiff_t>(at + 512),
                            [](std::byte b) { return b == std::byte{0}; }));
    const auto converted = path + ".vhdx";
    REQUIRE(vdisk::convert_disk(files(), *disk, converted, {}));
    check_content(*Disk::open(files(), converted, vdisk::Access::read).value(), expected, random);
    // Ours alone does not take it for a raw disk.
    auto refused = Disk::open(files(), path, vdisk::Access::read);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::unsupported);
  }
}

TEST_CASE("what each layer of a chain holds is told by its depth") {
  if (!have_qemu()) return;
  support::TemporaryDirectory directory;
  const auto top = directory / "top.vmdk", middle = directory / "middle.vmdk", base = directory / "base.vmdk";
  const auto io = [](const std::string& path, const std::string& write) {
    REQUIRE(support::run_quietly("qemu-io -f vmdk -c '" + write + "' " + path));
  };
  REQUIRE(support::run_quietly("qemu-img create -f vmdk " + base + " 8M"));
  io(base, "write -P 1 0 1M");
  REQUIRE(support::run_quietly("qemu-img create -f vmdk -F vmdk -b " + base + " " + middle));
  io(middle, "write -P 2 512k 1M");
  REQUIRE(support::run_quietly("qemu-img create -f vmdk -F vmdk -b " + middle + " " + top));
  io(top, "write -P 3 1M 64k");
  const auto disk = open(top);
  const auto layers = disk->layers();
  REQUIRE(layers.size() == 3);
  CHECK(layers[0].path == top);
  CHECK(layers[0].kind == vdisk::LayerKind::differencing);
  CHECK(layers[0].parent_path == middle);
  CHECK(layers[2].path == base);
  constexpr std::uint64_t kKiB = 1024;
  CHECK(disk->extents(0).value().ranges() == std::vector<ByteRange>{{1024 * kKiB, 64 * kKiB}});
  CHECK(disk->extents(1).value().ranges() ==
        std::vector<ByteRange>{{512 * kKiB, 512 * kKiB}, {1088 * kKiB, 448 * kKiB}});
  CHECK(disk->extents(2).value().ranges() == std::vector<ByteRange>{{0, 512 * kKiB}});
  CHECK(disk->extents(3).error().code == ErrorCode::invalid_argument);
  Bytes part(3);
  REQUIRE(disk->read(1024 * kKiB - 1, MutableByteView(part).first(2)));
  CHECK(part[0] == std::byte{2});
  CHECK(part[1] == std::byte{3});
  CHECK(disk->write(0, part).error().code == ErrorCode::denied);
  CHECK(disk->freeze().error().code == ErrorCode::unsupported);

  REQUIRE(files().remove(base));
  auto broken = foreign::open_any_disk(files(), top);
  REQUIRE_FALSE(broken);
  CHECK(broken.error().message.find("base.vmdk") != std::string::npos);
}

TEST_CASE("a raw disk in which a guest wrote another format's beginning is not opened as one") {
  support::TemporaryDirectory directory;
  Bytes content(1u << 20);
  const std::string trap = "# Disk DescriptorFile\nversion=1\nRW 1 FLAT \"/etc/hostname\" 0\n";
  std::copy(as_bytes(trap).begin(), as_bytes(trap).end(), content.begin());
  for (const std::string name : {"disk", "disk.raw", "disk.vdi", "disk.vhdx.bak"}) {
    const auto path = directory / name;
    REQUIRE(os::write_file_durably(files(), path, content));
    const auto file = files().open(path, os::OpenMode::read).value();
    CHECK(vdisk::foreign_content(*file).value() == "vmdk");
    CHECK_FALSE(vdisk::foreign_format(*file, path).value().has_value());
  }
  CHECK(open(directory / "disk.raw")->layers()[0].format == vdisk::Format::raw);
  auto refused = foreign::open_any_disk(files(), directory / "disk");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find(".raw") != std::string::npos);
}

TEST_CASE("commands: what they say, how they end, and that they are there") {
  auto said = foreign::run_command({"sh", "-c", "echo one; echo two >&2; exit 3"});
  REQUIRE(said);
  CHECK(said->out == "one\n");
  CHECK(said->err == "two\n");
  CHECK(said->status == 3);
  CHECK(foreign::run_command({"roamstead-no-such-program"}).error().code == ErrorCode::unavailable);
  auto much = foreign::run_command({"sh", "-c", "head -c 6000000 /dev/zero"});
  REQUIRE(much);
  CHECK(much->out.size() == os::kMostOutputBytes);
}
