// Converting, compacting and checking disks.
#include <doctest/doctest.h>

#include "common/vdisk/check.h"
#include "common/vdisk/convert.h"
#include "common/vdisk/test_model.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"

using namespace roamstead;
using support::CrashFileSystem;
using vdisk::Access;
using vdisk::Disk;
using vdisk::Qcow2;
using vdisk::Vhd;
using vdisk::Vhdx;

namespace {

constexpr std::uint64_t kSize = 5 * 1024 * 1024 + 512;

std::unique_ptr<Disk> open(os::FileSystem& files, const std::string& path, Access access = Access::read) {
  auto disk = Disk::open(files, path, access);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  return std::move(*disk);
}

template <class F>
vdisk::Model base_and_child(os::FileSystem& files, std::mt19937_64& random) {
  REQUIRE(vdisk::create_disk(files, F::name("d/base"), kSize,
                             {.block_bytes = F::block_bytes, .format = F::format}));
  vdisk::Model model(kSize);
  {
    auto base = open(files, F::name("d/base"), Access::write);
    for (int i = 0; i < 10; ++i) model.write_random(*base, random);
    REQUIRE(base->flush());
  }
  REQUIRE(vdisk::create_child(files, F::name("d/base"), F::name("d/a")));
  return model;
}

}  // namespace

TEST_CASE_TEMPLATE("compacting drops what is zero or in the parent, and keeps content, id and children", F,
                   Vhdx, Vhd, Qcow2) {
  auto random = support::seeded_random();
  CrashFileSystem files;
  auto model = base_and_child<F>(files, random);
  auto path = F::name("d/a");
  Bytes same(200'000);
  {
    auto disk = open(files, path, Access::write);
    REQUIRE(disk->read(1'000'000, same));
    REQUIRE(disk->write(1'000'000, same));  // what the parent has
    Bytes other(40'000, std::byte{0x5a});
    REQUIRE(disk->write(3'000'000, other));
    model.apply(3'000'000, other);
    REQUIRE(disk->flush());
  }
  auto id = vdisk::inspect(files, path).value().id;
  REQUIRE(vdisk::create_child(files, path, F::name("d/top")));
  {
    auto user = open(files, F::name("d/top"));
    CHECK(vdisk::compact_disk(files, path).error().code == ErrorCode::busy);
  }
  auto done = vdisk::compact_disk(files, path);
  REQUIRE_MESSAGE(done, done.error().to_string());
  CHECK(done->held_before >= 240'000);
  CHECK(done->held_after <= 50'000);
  CHECK(done->file_after <= done->file_before);
  CHECK(vdisk::inspect(files, path).value().id == id);
  model.check(*open(files, path));
  model.check(*open(files, F::name("d/top")));
  CHECK_FALSE(vdisk::check_disk(files, path)->has_errors());
  CHECK_FALSE(files.exists(path + ".compact").value());

  // A disk without a parent, filled and emptied again.
  REQUIRE(files.remove(F::name("d/top")));
  REQUIRE(
      vdisk::create_disk(files, F::name("d/b"), kSize, {.block_bytes = F::block_bytes, .format = F::format}));
  {
    auto disk = open(files, F::name("d/b"), Access::write);
    REQUIRE(disk->write(0, Bytes(kSize, std::byte{1})));
    REQUIRE(disk->write(0, Bytes(kSize)));
    REQUIRE(disk->write(2'000'000, Bytes(1000, std::byte{7})));
    REQUIRE(disk->flush());
  }
  auto second = vdisk::compact_disk(files, F::name("d/b"));
  REQUIRE_MESSAGE(second, second.error().to_string());
  CHECK(second->file_after + (4 << 20) <= second->file_before);
  vdisk::Model expected(kSize);
  expected.apply(2'000'000, Bytes(1000, std::byte{7}));
  expected.check(*open(files, F::name("d/b")));
}

TEST_CASE_TEMPLATE("a crash while compacting leaves the disk as it was or compacted", F, Vhdx, Vhd, Qcow2) {
  auto random = support::seeded_random();
  CrashFileSystem start;
  auto model = base_and_child<F>(start, random);
  auto path = F::name("d/a");
  {
    auto disk = open(start, path, Access::write);
    for (int i = 0; i < 4; ++i) model.write_random(*disk, random);
    REQUIRE(disk->flush());
  }
  for (std::uint64_t point = 0;; ++point) {
    CAPTURE(point);
    auto files = start.clone();
    files->crash_after(files->operations() + point);
    auto done = vdisk::compact_disk(*files, path);
    bool crashed = files->crashed();
    CHECK(done.has_value() == !crashed);  // no refusal is swallowed
    files->power_loss(point);
    model.check(*open(*files, path));
    auto again = vdisk::compact_disk(*files, path);
    REQUIRE_MESSAGE(again, again.error().to_string());
    model.check(*open(*files, path));
    if (!crashed) return;
  }
}

TEST_CASE("raw and fixed disks are not compacted") {
  CrashFileSystem files;
  REQUIRE(files.open("d/a.raw", os::OpenMode::create).value()->truncate(100'000));
  CHECK(vdisk::compact_disk(files, "d/a.raw").error().code == ErrorCode::unsupported);
  REQUIRE(vdisk::create_disk(files, "d/f.vhd", 1 << 20,
                             {.kind = vdisk::LayerKind::fixed, .format = vdisk::Format::vhd}));
  CHECK(vdisk::compact_disk(files, "d/f.vhd").error().code == ErrorCode::unsupported);
}

TEST_CASE_TEMPLATE("a converted disk has the whole chain's content, in every format and kind", F, Vhdx, Vhd,
                   Qcow2) {
  auto random = support::seeded_random();
  CrashFileSystem files;
  auto model = base_and_child<F>(files, random);
  {
    auto disk = open(files, F::name("d/a"), Access::write);
    for (int i = 0; i < 10; ++i) model.write_random(*disk, random);
    REQUIRE(disk->flush());
  }
  int number = 0;
  for (auto format : {vdisk::Format::raw, vdisk::Format::vhd, vdisk::Format::vhdx, vdisk::Format::qcow2})
    for (auto kind : {vdisk::LayerKind::dynamic, vdisk::LayerKind::fixed}) {
      CAPTURE(to_string(format));
      if (format == vdisk::Format::qcow2 && kind == vdisk::LayerKind::fixed) continue;
      auto out = "d/out" + std::to_string(number++) + "." + std::string(to_string(format));
      vdisk::ConvertOptions options;
      options.format = format;
      options.create.kind = kind;
      std::uint64_t last = 0;
      auto done = vdisk::convert_disk(files, F::name("d/a"), out, options, [&](auto now, auto total) {
        CHECK(now > last);
        CHECK(now <= total);
        last = now;
      });
      REQUIRE_MESSAGE(done, done.error().to_string());
      CHECK(done->virtual_bytes == kSize);
      model.check(*open(files, out));
      CHECK_FALSE(vdisk::check_disk(files, out)->has_errors());
      CHECK(vdisk::convert_disk(files, F::name("d/a"), out, options).error().code == ErrorCode::exists);
    }
}

TEST_CASE("a raw disk that ends within a sector is filled up with zeros") {
  CrashFileSystem files;
  {
    auto file = files.open("d/a.raw", os::OpenMode::create).value();
    REQUIRE(file->write_at(0, Bytes(100'001, std::byte{9})));
  }
  vdisk::ConvertOptions options;
  options.format = vdisk::Format::vhd;
  REQUIRE(vdisk::convert_disk(files, "d/a.raw", "d/a.vhd", options));
  auto disk = open(files, "d/a.vhd");
  REQUIRE(disk->size_bytes() == 100'352);
  Bytes end(352);
  REQUIRE(disk->read(100'000, end));
  CHECK(end[0] == std::byte{9});
  CHECK(all_zero(ByteView(end).subspan(1)));
}

TEST_CASE("a conversion that fails or is cut off by a crash leaves nothing under the name asked for") {
  auto random = support::seeded_random();
  CrashFileSystem start;
  auto model = base_and_child<Vhd>(start, random);
  for (std::uint64_t point = 0;; point += 3) {
    auto files = start.clone();
    files->crash_after(files->operations() + point);
    auto done = vdisk::convert_disk(*files, "d/a.vhd", "d/out.vhdx", {});
    bool crashed = files->crashed();
    files->power_loss(point);
    bool there = files->exists("d/out.vhdx").value();
    if (there) model.check(*open(*files, "d/out.vhdx"));
    CHECK(done.has_value() == !crashed);  // no refusal is swallowed
    if (done) CHECK(there);
    if (!crashed) return;
    REQUIRE(vdisk::convert_disk(*files, "d/a.vhd", "d/again.vhdx", {}));
  }
}

TEST_CASE_TEMPLATE("a check finds nothing in what we write, and names a missing and a changed parent", F,
                   Vhdx, Vhd, Qcow2) {
  auto random = support::seeded_random();
  CrashFileSystem files;
  auto model = base_and_child<F>(files, random);
  {
    auto disk = open(files, F::name("d/a"), Access::write);
    for (int layer = 0; layer < 3; ++layer) {
      for (int i = 0; i < 5; ++i) model.write_random(*disk, random);
      REQUIRE(disk->freeze());
    }
    REQUIRE(disk->merge(1));
    REQUIRE(disk->flush());
  }
  auto checked = vdisk::check_disk(files, F::name("d/a"));
  REQUIRE(checked);
  CHECK(checked->layers.size() == 4);
  CHECK_FALSE(checked->has_errors());
  for (const auto& layer : checked->layers)
    for (const auto& finding : layer.findings)
      if (finding.severity != vdisk::Finding::Severity::note) FAIL(layer.path, ": ", finding.text);
  REQUIRE(files.rename(F::name("d/base"), F::name("d/away")));
  auto missing = vdisk::check_disk(files, F::name("d/a")).value();
  REQUIRE(missing.refused);
  CHECK(missing.refused->code == ErrorCode::not_found);
  CHECK(missing.layers.size() == 3);
  CHECK(missing.has_errors());
  REQUIRE(files.rename(F::name("d/away"), F::name("d/base")));
  if (F::format == vdisk::Format::qcow2) return;  // its parents have no ids
  REQUIRE(open(files, F::name("d/base"), Access::write)->write(0, Bytes(512)));
  auto changed = vdisk::check_disk(files, F::name("d/a")).value();
  REQUIRE(changed.refused);
  CHECK(changed.refused->code == ErrorCode::stale);
}
