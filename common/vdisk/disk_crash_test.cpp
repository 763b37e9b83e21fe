// Power is lost at every operation of a write, a flush, a freeze and a merge; then the disk is opened again.
#include <doctest/doctest.h>

#include <functional>

#include "common/vdisk/chain.h"
#include "common/vdisk/check.h"
#include "common/vdisk/test_model.h"
#include "common/vdisk/vhdx_header.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"
#include "tests/support/thinning.h"

using namespace roamstead;
using support::CrashFileSystem;
using vdisk::Access;
using vdisk::Disk;
using vdisk::Model;
using vdisk::Qcow2;
using vdisk::Vhd;
using vdisk::Vhdx;

namespace {

constexpr std::uint64_t kSize = 3 * 1024 * 1024 + 512;
template <class F>
const vdisk::CreateOptions kSmallBlocks{.block_bytes = F::block_bytes, .format = F::format};

// What may be on the disk after the crash: in each sector the content of the last flush, or of any write
// since.
class Expectation {
 public:
  explicit Expectation(const Model& start) : flushed_(start), latest_(start) {}

  void write(Disk& disk, std::mt19937_64& random) {
    auto [offset, data] = flushed_.random_write(random);
    auto after = latest_;
    after.apply(offset, data);
    if (disk.write(offset, data)) {
      since_.push_back(after);
      latest_ = std::move(after);
    } else {
      cut_off_.push_back(std::move(after));  // some of its sectors may be there
    }
  }
  bool flush(Disk& disk) {
    if (!disk.flush()) return false;
    flushed_ = latest_;
    since_.clear();
    return true;
  }
  // After an operation that flushes on its way and succeeded.
  void is_flushed() {
    flushed_ = latest_;
    since_.clear();
  }
  const Model& latest() const { return latest_; }

  void check(const Disk& disk) const {
    Bytes seen(kSize);
    auto read = disk.read(0, seen);
    REQUIRE_MESSAGE(read, read.error().to_string());
    for (std::size_t at = 0; at < kSize; at += 512) {
      auto same = [&](const Model& model) {
        return std::memcmp(seen.data() + at, model.bytes().data() + at, 512) == 0;
      };
      if (same(flushed_)) continue;
      if (std::none_of(since_.begin(), since_.end(), same) &&
          std::none_of(cut_off_.begin(), cut_off_.end(), same)) {
        FAIL("the sector at byte ", at, " has neither its flushed content nor any written since");
      }
    }
  }

 private:
  Model flushed_;
  Model latest_;
  std::vector<Model> since_;
  std::vector<Model> cut_off_;
};

template <class F>
std::unique_ptr<Disk> reopen(CrashFileSystem& files, Access access) {
  auto disk = Disk::open(files, F::name("d/a"), access);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  return std::move(*disk);
}

// Runs `work` on copies of `start` with a crash at every operation, and gives each outcome to `verify`.
void at_every_crash_point(const CrashFileSystem& start, std::uint64_t seed,
                          const std::function<bool(CrashFileSystem&, Expectation&, std::mt19937_64&)>& work,
                          const Model& model,
                          const std::function<void(CrashFileSystem&, Expectation&, bool)>& verify) {
  std::minstd_rand steps(static_cast<unsigned>(seed));
  for (std::uint64_t point = 0;; point += support::next_step(steps)) {
    CAPTURE(point);
    auto files = start.clone();
    files->crash_after(files->operations() + point);
    std::mt19937_64 random(seed);  // the same workload each time
    Expectation expectation(model);
    bool finished = work(*files, expectation, random);
    bool crashed = files->crashed();
    files->power_loss(seed + point);
    verify(*files, expectation, finished && !crashed);
    if (!crashed) return;
  }
}

template <class F>
Model prepare(CrashFileSystem& files, std::mt19937_64& random, int layers) {
  REQUIRE(vdisk::create_disk(files, F::name("d/base"), kSize, kSmallBlocks<F>));
  Model model(kSize);
  {
    auto base = Disk::open(files, F::name("d/base"), Access::write).value();
    for (int i = 0; i < 6; ++i) model.write_random(*base, random);
    REQUIRE(base->flush());
  }
  REQUIRE(vdisk::create_child(files, F::name("d/base"), F::name("d/a")));
  auto disk = reopen<F>(files, Access::write);
  for (int layer = 0; layer < layers; ++layer) {
    for (int i = 0; i < 4; ++i) model.write_random(*disk, random);
    REQUIRE(disk->freeze());
  }
  for (int i = 0; i < 2; ++i) model.write_random(*disk, random);
  REQUIRE(disk->flush());
  return model;
}

// The disk opens read-only, then for writing, shows what it may, and still works.
template <class F>
void verify_usable(CrashFileSystem& files, const Expectation& expectation) {
  if (F::format == vdisk::Format::qcow2) {  // no cluster is used that is not counted
    auto checked = vdisk::check_disk(files, F::name("d/a"));
    REQUIRE(checked);
    for (const auto& layer : checked->layers)
      for (const auto& finding : layer.findings)
        if (finding.severity == vdisk::Finding::Severity::error)
          FAIL(layer.path, " at ", finding.offset, ": ", finding.text);
  }
  expectation.check(*reopen<F>(files, Access::read));
  auto disk = reopen<F>(files, Access::write);
  expectation.check(*disk);
  Model now(kSize);
  {
    Bytes whole(kSize);
    REQUIRE(disk->read(0, whole));
    now.apply(0, whole);
  }
  std::mt19937_64 random(5);
  for (int i = 0; i < 3; ++i) now.write_random(*disk, random);
  auto frozen = disk->freeze();
  REQUIRE_MESSAGE(frozen, frozen.error().to_string());
  now.write_random(*disk, random);
  REQUIRE(disk->flush());
  now.check(*disk);
  disk.reset();
  now.check(*reopen<F>(files, Access::read));
}

}  // namespace

TEST_CASE_TEMPLATE(
    "a crash while writing and flushing shows each sector old or new, and no flushed one is lost", F, Vhdx,
    Vhd, Qcow2) {
  auto random = support::seeded_random();
  for (int dynamic = 0; dynamic < 2; ++dynamic) {
    CrashFileSystem start;
    auto model = prepare<F>(start, random, 0);
    if (dynamic != 0) {  // the parent alone: whole blocks, zero where not written
      model = Model(kSize);
      REQUIRE(start.remove(F::name("d/a")));
      REQUIRE(vdisk::create_disk(start, F::name("d/a"), kSize, kSmallBlocks<F>));
    }
    auto work = [](CrashFileSystem& files, Expectation& expectation, std::mt19937_64& dice) {
      auto disk = Disk::open(files, F::name("d/a"), Access::write);
      if (!disk) return false;
      for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < 3; ++i) expectation.write(**disk, dice);
        if (!expectation.flush(**disk)) return false;
      }
      for (int i = 0; i < 3; ++i) expectation.write(**disk, dice);
      return true;
    };
    at_every_crash_point(
        start, random(), work, model,
        [](CrashFileSystem& files, Expectation& expectation, bool) { verify_usable<F>(files, expectation); });
  }
}

TEST_CASE_TEMPLATE("two crashes one after the other are no worse than one", F, Vhdx, Vhd, Qcow2) {
  auto random = support::seeded_random();
  for (std::uint64_t round = 0; round < 15; round += support::next_step(random)) {
    CrashFileSystem files;
    auto model = prepare<F>(files, random, 1);
    for (int crash = 0; crash < 4; ++crash) {
      Expectation expectation(model);
      files.crash_after(files.operations() + random() % 40);
      if (auto disk = Disk::open(files, F::name("d/a"), Access::write)) {
        for (int i = 0; i < 12; ++i) {
          expectation.write(**disk, random);
          if (random() % 3 == 0) expectation.flush(**disk);
        }
      }
      files.power_loss(random());
      auto disk = reopen<F>(files, Access::read);
      expectation.check(*disk);
      Bytes whole(kSize);
      REQUIRE(disk->read(0, whole));
      model.apply(0, whole);
    }
  }
}

TEST_CASE("a crash while a log is replayed loses nothing that was flushed") {
  auto random = support::seeded_random();
  CrashFileSystem start;
  auto model = prepare<Vhdx>(start, random, 0);
  auto seed = random();
  int replays = 0;
  // First crashes that leave a log, then a crash at every operation of opening the disk and going on.
  for (std::uint64_t point = 0; point < 30; ++point) {
    auto files = start.clone();
    files->crash_after(files->operations() + point);
    std::mt19937_64 dice(seed);
    Expectation expectation(model);
    if (auto disk = Disk::open(*files, "d/a.vhdx", Access::write))
      for (int i = 0; i < 4; ++i) {
        expectation.write(**disk, dice);
        if (!expectation.flush(**disk)) break;
      }
    files->power_loss(seed + point);
    auto file = files->open("d/a.vhdx", os::OpenMode::read).value();
    if (vdisk::vhdx::read_header(*file).value().header.log_guid.is_zero()) continue;
    ++replays;
    Model now(kSize);
    {
      Bytes whole(kSize);
      auto disk = reopen<Vhdx>(*files, Access::read);
      expectation.check(*disk);
      REQUIRE(disk->read(0, whole));
      now.apply(0, whole);
    }
    auto work = [](CrashFileSystem& again, Expectation& expected, std::mt19937_64& more) {
      auto disk = Disk::open(again, "d/a.vhdx", Access::write);
      if (!disk) return false;
      expected.write(**disk, more);
      return expected.flush(**disk);
    };
    at_every_crash_point(*files, seed, work, now, [](CrashFileSystem& again, Expectation& expected, bool) {
      expected.check(*reopen<Vhdx>(again, Access::read));
      expected.check(*reopen<Vhdx>(again, Access::write));
    });
  }
  CHECK(replays > 5);
}

TEST_CASE_TEMPLATE("a crash while freezing leaves a disk that opens with everything flushed", F, Vhdx, Vhd,
                   Qcow2) {
  auto random = support::seeded_random();
  CrashFileSystem start;
  auto model = prepare<F>(start, random, 1);
  auto work = [](CrashFileSystem& files, Expectation& expectation, std::mt19937_64& dice) {
    auto disk = Disk::open(files, F::name("d/a"), Access::write);
    if (!disk) return false;
    for (int i = 0; i < 3; ++i) expectation.write(**disk, dice);
    if (!(*disk)->freeze()) return false;
    expectation.is_flushed();
    expectation.write(**disk, dice);
    return expectation.flush(**disk);
  };
  auto verify = [](CrashFileSystem& files, Expectation& expectation, bool finished) {
    verify_usable<F>(files, expectation);
    auto layers = reopen<F>(files, Access::read)->layers();
    // verify_usable has frozen once more; a freeze that did not happen left no layer and no name behind.
    CHECK(layers.size() >= 4);
    CHECK(layers.size() <= 5);
    if (finished) CHECK(layers.size() == 5);
    std::size_t disks = 0;
    const auto names = files.list_directory("d").value();
    for (const auto& name : names) disks += name.ends_with(F::name("")) ? 1 : 0;
    CHECK(disks == layers.size());
  };
  at_every_crash_point(start, random(), work, model, verify);
}

TEST_CASE_TEMPLATE("a crash while merging leaves a disk with the same content, whichever way the merge goes",
                   F, Vhdx, Vhd, Qcow2) {
  auto random = support::seeded_random();
  for (bool upper_is_smaller : {true, false}) {
    CAPTURE(upper_is_smaller);
    CrashFileSystem start;
    auto model = prepare<F>(start, random, 0);
    Guid merged_id;
    Model merged_state(kSize);
    {
      auto disk = reopen<F>(start, Access::write);
      for (int layer = 0; layer < 2; ++layer) {
        bool small = (layer == 1) == upper_is_smaller;
        for (int i = 0; i < (small ? 1 : 8); ++i) {
          Bytes data((small ? 2 : 40) * 512, static_cast<std::byte>(random()));
          auto offset = random() % (kSize / 512 - 40) * 512;
          REQUIRE(disk->write(offset, data));
          model.apply(offset, data);
        }
        merged_id = disk->freeze().value().frozen_id;
      }
      merged_state = model;
      for (int i = 0; i < 2; ++i) model.write_random(*disk, random);
      REQUIRE(disk->flush());
    }
    auto work = [](CrashFileSystem& files, Expectation& expectation, std::mt19937_64& dice) {
      auto disk = Disk::open(files, F::name("d/a"), Access::write);
      if (!disk) return false;
      if (!(*disk)->merge(1)) return false;
      expectation.write(**disk, dice);
      return expectation.flush(**disk);
    };
    auto verify = [&](CrashFileSystem& files, Expectation& expectation, bool finished) {
      expectation.check(*reopen<F>(files, Access::read));
      // Whoever opens the lower layer alone sees a state the disk had, or is told that he cannot.
      if (auto lower = Disk::open(files, F::name("d/a.0001"), Access::read); !lower)
        CHECK((lower.error().code == ErrorCode::not_found || lower.error().code == ErrorCode::busy));
      auto disk = reopen<F>(files, Access::write);  // finishes what was begun
      expectation.check(*disk);
      auto layers = disk->layers();
      REQUIRE(layers.size() >= 3);
      CHECK(layers[1].id == merged_id);
      if (finished) CHECK(layers.size() == 3);
      if (layers.size() == 4) {
        auto again = disk->merge(1);
        REQUIRE_MESSAGE(again, again.error().to_string());
      }
      expectation.check(*disk);
      CHECK(disk->layers().size() == 3);
      CHECK_FALSE(files.exists(F::name("d/a.0001")).value());
      disk.reset();
      merged_state.check(*Disk::open(files, F::name("d/a.0002"), Access::read).value());
      auto lineage = vdisk::open_layer(files, F::name("d/a.0002"), Access::read).value().image->lineage();
      CHECK(lineage.merging_child.is_zero());
      CHECK(lineage.merged_path.empty());
      verify_usable<F>(files, expectation);
    };
    at_every_crash_point(start, random(), work, model, verify);
  }
}

TEST_CASE_TEMPLATE("a full disk loses nothing that was flushed, and writing goes on when there is room again",
                   F, Vhdx, Vhd, Qcow2) {
  // A failing operation without a crash: everything later works again.
  auto steps = support::seeded_random();
  for (std::uint64_t point = 0; point < 40; point += support::next_step(steps)) {
    CAPTURE(point);
    CrashFileSystem files;
    std::mt19937_64 random(point);
    auto model = prepare<F>(files, random, 1);
    Expectation expectation(model);
    files.crash_after(files.operations() + point);
    {
      auto disk = Disk::open(files, F::name("d/a"), Access::write);
      if (disk)
        for (int i = 0; i < 6; ++i) {
          expectation.write(**disk, random);
          expectation.flush(**disk);
        }
      files.crash_after(~std::uint64_t{0});  // room again; nothing was lost
      if (disk) {
        expectation.check(**disk);
        if (expectation.flush(**disk)) {
          expectation.write(**disk, random);
          REQUIRE(expectation.flush(**disk));
          expectation.check(**disk);
        }
      }
    }
    expectation.check(*reopen<F>(files, Access::read));
  }
}
