#include "common/vdisk/disk.h"

#include <doctest/doctest.h>

#include <thread>

#include "common/vdisk/test_model.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;
using vdisk::Qcow2;
using vdisk::Vhd;
using vdisk::Vhdx;

namespace {

constexpr std::uint64_t kSize = 5 * 1024 * 1024 + 512;  // a last block that is not whole
template <class F>
const vdisk::CreateOptions kSmallBlocks{.block_bytes = F::block_bytes, .format = F::format};

std::unique_ptr<Disk> open(os::FileSystem& files, const std::string& path, Access access = Access::write) {
  auto disk = Disk::open(files, path, access);
  if (!disk) FAIL(disk.error().to_string());
  return std::move(*disk);
}

// "d/base" with random content and its empty child "d/a".
template <class F>
vdisk::Model base_and_child(os::FileSystem& files, std::mt19937_64& random) {
  REQUIRE(vdisk::create_disk(files, F::name("d/base"), kSize, kSmallBlocks<F>));
  vdisk::Model model(kSize);
  {
    auto base = open(files, F::name("d/base"));
    for (int i = 0; i < 20; ++i) model.write_random(*base, random);
    REQUIRE(base->flush());
  }
  REQUIRE(vdisk::create_child(files, F::name("d/base"), F::name("d/a")));
  return model;
}

}  // namespace

TEST_CASE_TEMPLATE("a new disk reads as zeros and has no extents", F, Vhdx, Vhd, Qcow2) {
  support::CrashFileSystem files;
  REQUIRE(vdisk::create_disk(files, F::name("d/a"), kSize, kSmallBlocks<F>));
  auto disk = open(files, F::name("d/a"), Access::read);
  CHECK(disk->size_bytes() == kSize);
  vdisk::Model(kSize).check(*disk);
  CHECK(disk->extents(0).value().empty());
  CHECK(disk->layers().at(0).kind == vdisk::LayerKind::dynamic);
  CHECK(disk->write(0, Bytes(1)).error().code == ErrorCode::denied);
  CHECK(vdisk::create_disk(files, F::name("d/a"), kSize).error().code == ErrorCode::exists);
}

TEST_CASE_TEMPLATE("what is written is read, at any alignment, before and after a flush and opening again", F,
                   Vhdx, Vhd, Qcow2) {
  auto random = support::seeded_random();
  support::CrashFileSystem files;
  auto model = base_and_child<F>(files, random);
  for (int round = 0; round < 4; ++round) {
    auto disk = open(files, F::name("d/a"));
    for (int i = 0; i < 40; ++i) model.write_random(*disk, random);
    model.check(*disk);
    REQUIRE(disk->flush());
    model.check(*disk);
    auto held = disk->extents(0).value();
    if (F::format != vdisk::Format::qcow2)  // which holds whole clusters
      CHECK(held.ranges() == model.written_sectors(held).ranges());
  }
  model.check(*open(files, F::name("d/a"), Access::read));
}

TEST_CASE_TEMPLATE("extents are exactly the sectors written into the layer", F, Vhdx, Vhd) {
  auto random = support::seeded_random();
  support::CrashFileSystem files;
  auto model = base_and_child<F>(files, random);
  auto disk = open(files, F::name("d/a"));
  REQUIRE(disk->write(1000, Bytes(100)));         // crosses from sector 1 into 2
  REQUIRE(disk->write(3 << 20, Bytes(1 << 20)));  // a whole block
  REQUIRE(disk->write(kSize - 512, Bytes(512)));  // all there is of the last block
  CHECK(disk->extents(0).value().ranges() ==
        std::vector<ByteRange>{{512, 1024}, {3 << 20, 1 << 20}, {kSize - 512, 512}});
}

TEST_CASE_TEMPLATE("a child reads through several layers and freezing keeps every state", F, Vhdx, Vhd,
                   Qcow2) {
  auto random = support::seeded_random();
  support::CrashFileSystem files;
  auto model = base_and_child<F>(files, random);
  auto disk = open(files, F::name("d/a"));
  std::vector<std::pair<std::string, vdisk::Model>> frozen;
  for (int layer = 0; layer < 3; ++layer) {
    for (int i = 0; i < 15; ++i) model.write_random(*disk, random);
    auto result = disk->freeze();
    REQUIRE(result);
    CHECK(result->active_path == F::name("d/a"));
    CHECK(vdisk::inspect(files, result->frozen_path).value().id == result->frozen_id);
    frozen.emplace_back(result->frozen_path, model);
  }
  for (int i = 0; i < 15; ++i) model.write_random(*disk, random);
  model.check(*disk);
  CHECK(frozen[0].first == F::name("d/a.0001"));
  CHECK(disk->layers().size() == 5);
  CHECK(disk->layers()[0].parent_path == F::name("d/a.0003"));
  // The frozen layers can be read while the top is open for writing.
  for (const auto& [path, state] : frozen) state.check(*open(files, path, Access::read));
  CHECK(Disk::open(files, F::name("d/a"), Access::read).error().code == ErrorCode::busy);
  CHECK(Disk::open(files, F::name("d/a.0001"), Access::write).error().code == ErrorCode::busy);
  REQUIRE(disk->flush());
  disk.reset();
  model.check(*open(files, F::name("d/a"), Access::read));
}

TEST_CASE_TEMPLATE("merging keeps the content, the upper's path and id, and the states above", F, Vhdx, Vhd,
                   Qcow2) {
  auto random = support::seeded_random();
  for (bool upper_is_smaller : {true, false}) {
    CAPTURE(upper_is_smaller);
    support::CrashFileSystem files;
    auto model = base_and_child<F>(files, random);
    auto disk = open(files, F::name("d/a"));
    for (int i = 0; i < (upper_is_smaller ? 30 : 3); ++i) model.write_random(*disk, random);
    REQUIRE(disk->freeze());
    for (int i = 0; i < (upper_is_smaller ? 3 : 30); ++i) model.write_random(*disk, random);
    auto upper = disk->freeze();
    REQUIRE(upper);
    auto state = model;
    for (int i = 0; i < 10; ++i) model.write_random(*disk, random);
    auto held = disk->extents(1).value();
    held.add(disk->extents(2).value());
    {
      auto reader = open(files, upper->frozen_path, Access::read);
      CHECK(disk->merge(1).error().code == ErrorCode::busy);
    }
    auto merged = disk->merge(1);
    REQUIRE_MESSAGE(merged, merged.error().to_string());
    auto layers = disk->layers();
    REQUIRE(layers.size() == 3);
    CHECK(layers[1].path == upper->frozen_path);
    CHECK(layers[1].id == upper->frozen_id);
    CHECK(layers[1].parent_path == F::name("d/base"));
    CHECK(disk->extents(1).value() == held);
    CHECK_FALSE(files.exists(F::name("d/a.0001")).value());
    model.check(*disk);
    state.check(*open(files, upper->frozen_path, Access::read));
    for (int i = 0; i < 10; ++i) model.write_random(*disk, random);
    REQUIRE(disk->flush());
    disk.reset();
    model.check(*open(files, F::name("d/a")));
    CHECK(open(files, F::name("d/a"))->merge(1).error().code ==
          ErrorCode::denied);  // below it is the golden image
  }
}

TEST_CASE_TEMPLATE("a layer with another child is not merged", F, Vhdx, Vhd, Qcow2) {
  auto random = support::seeded_random();
  support::CrashFileSystem files;
  auto model = base_and_child<F>(files, random);
  auto disk = open(files, F::name("d/a"));
  for (int i = 0; i < 2; ++i) {
    model.write_random(*disk, random);
    REQUIRE(disk->freeze());
  }
  for (const auto& parent : {F::name("d/a.0001"), F::name("d/a.0002")}) {
    CAPTURE(parent);
    REQUIRE(vdisk::create_child(files, parent, F::name("d/other")));
    auto refused = disk->merge(1);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::conflict);
    CHECK(refused.error().message.find(F::name("d/other")) != std::string::npos);
    REQUIRE(files.remove(F::name("d/other")));
  }
  CHECK(disk->merge(0).error().code == ErrorCode::invalid_argument);
  CHECK(disk->merge(3).error().code == ErrorCode::invalid_argument);
  CHECK(disk->merge(~std::size_t{0}).error().code == ErrorCode::invalid_argument);
  REQUIRE(disk->merge(1));
  model.check(*disk);
}

TEST_CASE_TEMPLATE("a missing and a changed parent are told apart and named", F, Vhdx, Vhd) {
  auto random = support::seeded_random();
  support::CrashFileSystem files;
  base_and_child<F>(files, random);
  REQUIRE(files.rename(F::name("d/base"), F::name("d/away")));
  auto missing = Disk::open(files, F::name("d/a"), Access::read);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::not_found);
  CHECK(missing.error().message.find(F::name("d/a")) != std::string::npos);
  CHECK(missing.error().message.find(F::name("d/base")) != std::string::npos);
  REQUIRE(files.rename(F::name("d/away"), F::name("d/base")));
  REQUIRE(open(files, F::name("d/base"))->write(0, Bytes(512)));
  auto changed = Disk::open(files, F::name("d/a"), Access::read);
  REQUIRE_FALSE(changed);
  CHECK(changed.error().code == ErrorCode::stale);
  CHECK(changed.error().message.find(F::name("d/base")) != std::string::npos);
}

TEST_CASE_TEMPLATE("children are found by their locators, in other directories by relative path", F, Vhdx,
                   Vhd, Qcow2) {
  auto random = support::seeded_random();
  support::CrashFileSystem files;
  auto model = base_and_child<F>(files, random);
  REQUIRE(vdisk::create_child(files, F::name("d/base"), F::name("clones/x/b")));
  auto parent = vdisk::inspect(files, F::name("d/base")).value();
  CHECK(vdisk::find_children(files, "d", parent).value() == std::vector<std::string>{F::name("d/a")});
  CHECK(vdisk::inspect(files, F::name("clones/x/b")).value().parent_path == F::name("d/base"));
  model.check(*open(files, F::name("clones/x/b")));
}

TEST_CASE_TEMPLATE("a raw disk is read and written in place, but not frozen", F, Vhdx, Vhd) {
  support::CrashFileSystem files;
  REQUIRE(files.open("d/a.raw", os::OpenMode::create).value()->truncate(100'000));
  auto disk = open(files, "d/a.raw");
  REQUIRE(disk->write(99'990, to_bytes("0123456789")));
  CHECK(disk->write(99'991, to_bytes("0123456789")).error().code == ErrorCode::invalid_argument);
  REQUIRE(disk->flush());
  Bytes end(3);
  REQUIRE(disk->read(99'997, end));
  CHECK(as_text(end) == "789");
  CHECK(disk->freeze().error().code == ErrorCode::unsupported);
  CHECK(vdisk::create_child(files, "d/a.raw", F::name("d/b")).error().code == ErrorCode::busy);
  disk.reset();
  CHECK(vdisk::create_child(files, "d/a.raw", F::name("d/b")).error().code == ErrorCode::unsupported);
}

TEST_CASE_TEMPLATE("reads, writes, freezes and merges from several threads agree", F, Vhdx, Vhd, Qcow2) {
  auto random = support::seeded_random();
  support::CrashFileSystem files;
  auto model = base_and_child<F>(files, random);
  auto disk = open(files, F::name("d/a"));
  std::atomic<bool> stop = false;
  // Every thread owns a part of the disk and always finds there what it wrote last.
  auto work = [&](std::uint64_t part) {
    Bytes mine(8192);
    for (unsigned round = 1; !stop; ++round) {
      std::fill(mine.begin(), mine.end(), static_cast<std::byte>(round));
      if (!disk->write(part * 1'000'000 + round % 7 * 4099, mine)) return false;
      Bytes seen(8192);
      if (!disk->read(part * 1'000'000 + round % 7 * 4099, seen) || seen != mine) return false;
    }
    return true;
  };
  std::atomic<int> bad = 0;
  std::vector<std::jthread> threads;
  for (std::uint64_t part = 0; part < 3; ++part)
    threads.emplace_back([&, part] {
      if (!work(part)) ++bad;
    });
  for (int i = 0; i < 6; ++i) {
    REQUIRE(disk->freeze());
    if (i > 0) {
      auto merged = disk->merge(1);
      CHECK_MESSAGE(merged, merged.error().to_string());
    }
    REQUIRE(disk->flush());
  }
  stop = true;
  threads.clear();
  CHECK(bad == 0);
  CHECK(disk->layers().size() == 3);
}
