// Chains of many layers, frozen and merged at random: every state is what a model says, and what 7zz reads.
// (qcow2_oracle_test.cpp does the same with qemu-img.)
#include <doctest/doctest.h>

#include "common/vdisk/check.h"
#include "common/vdisk/test_model.h"
#include "tests/support/command.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

using namespace roamstead;
using vdisk::Access;
using vdisk::Disk;
using vdisk::Model;
using vdisk::Vhd;
using vdisk::Vhdx;

namespace {

constexpr std::size_t kDeepest = 8;

os::FileSystem& files() { return os::real_file_system(); }

std::unique_ptr<Disk> open(const std::string& path, Access access) {
  auto disk = Disk::open(files(), path, access);
  REQUIRE_MESSAGE(disk, disk.error().to_string());
  return std::move(*disk);
}

void check_state(const std::string& path, const Model& model, const std::string& out,
                 const std::string& type) {
  model.check(*open(path, Access::read));
  REQUIRE(support::run("7zz e -so -t" + type + " " + path + " > " + out + " 2>/dev/null"));
  CHECK(os::read_file(files(), out, std::uint64_t{1} << 30).value() == model.bytes());
}

}  // namespace

TEST_CASE_TEMPLATE("chains up to eight deep, frozen and merged at random, are what a model and 7zz say", F,
                   Vhdx, Vhd) {
  if (!support::available("7zz")) return;
  auto random = support::seeded_random();
  const std::string type(vdisk::to_string(F::format));
  std::size_t deepest = 0;
  for (int round = 0; round < 2; ++round) {
    support::TemporaryDirectory directory;
    const std::uint64_t size = (5u << 20) + random() % 300 * 4096;  // 7zz wants whole 4 KiB
    const auto base = F::name(directory / "base"), path = F::name(directory / "a"), out = directory / "out";
    REQUIRE(vdisk::create_disk(files(), base, size, {.block_bytes = F::block_bytes, .format = F::format}));
    Model model(size);
    const auto scribble = [&](Disk& disk, int writes) {
      for (int i = 0; i < writes; ++i) model.write_random(disk, random);
      REQUIRE(disk.flush());
    };
    scribble(*open(base, Access::write), 10);
    const auto base_model = model;
    REQUIRE(vdisk::create_child(files(), base, path));
    std::vector<std::pair<std::string, Model>> frozen;  // from the lowest up
    auto disk = open(path, Access::write);
    for (int step = 0; step < 30; ++step) {
      scribble(*disk, 2);
      if (step % 9 == 8) {  // a log-out and a log-in
        disk.reset();
        disk = open(path, Access::write);
      }
      const bool grow = step < 12 ? disk->layers().size() < kDeepest
                                  : random() % 2 == 0 && disk->layers().size() < kDeepest;
      if (grow) {
        auto result = disk->freeze();
        REQUIRE_MESSAGE(result, result.error().to_string());
        frozen.emplace_back(result->frozen_path, model);
      } else if (frozen.size() >= 2) {
        const auto index = 1 + random() % (frozen.size() - 1);  // of the upper one
        auto merged = disk->merge(index);
        REQUIRE_MESSAGE(merged, merged.error().to_string());
        frozen.erase(frozen.end() - static_cast<std::ptrdiff_t>(index) - 1);
      }
      deepest = std::max(deepest, disk->layers().size());
    }
    CHECK(disk->layers().size() == frozen.size() + 2);
    disk.reset();  // 7zz reads no disk whose log is in use
    check_state(path, model, out, type);
    check_state(base, base_model, out, type);
    for (const auto& [name, state] : frozen) check_state(name, state, out, type);
    CHECK_FALSE(vdisk::check_disk(files(), path).value().has_errors());
  }
  CHECK(deepest == kDeepest);
}
