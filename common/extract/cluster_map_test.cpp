#include "common/extract/cluster_map.h"

#include <doctest/doctest.h>

#include <random>

#include "common/base/log.h"
#include "common/extract/test_volume.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"

namespace roamstead::extract {
namespace {

const std::string kPath = "state/clusters.map";

ntfs::FileRecord file_of(std::vector<ntfs::Run> runs) {
  ntfs::FileRecord file;
  file.streams.emplace_back();
  file.streams[0].runs = std::move(runs);
  return file;
}

MapState state_of(std::uint64_t step, const StreamVolume& volume) {
  MapState state;
  store_le<std::uint64_t>(state.layer.bytes, 0, step + 1);
  state.volume_bytes = volume.info_.volume_bytes;
  state.cluster_bytes = volume.info_.cluster_bytes;
  return state;
}

std::set<std::uint64_t> owners(const ClusterMap& map, std::uint64_t cluster, std::uint64_t count) {
  RangeSet bytes;
  bytes.add({cluster * 4096, count * 4096});
  return map.owners(bytes).value();
}

TEST_CASE("the owners of clusters are found, and clusters with two owners") {
  StreamVolume volume;
  volume.info_.volume_bytes = 1000 * 4096;
  volume.files = {file_of({{0, 10, 5, false}, {5, 0, 100, true}, {105, 50, 5, false}}),
                  file_of({{0, 15, 35, false}}), file_of({{0, 60, 10, false}}), file_of({{0, 69, 2, false}}),
                  file_of({{0, 990, 100, false}})};  // the last beyond the volume: not believed
  const auto map = ClusterMap::build(volume, state_of(0, volume)).value();
  CHECK(owners(*map, 0, 10).empty());
  CHECK(owners(*map, 14, 1) == std::set<std::uint64_t>{24});
  CHECK(owners(*map, 14, 2) == std::set<std::uint64_t>{24, 25});
  CHECK(owners(*map, 49, 2) == std::set<std::uint64_t>{24, 25});
  CHECK(owners(*map, 69, 1) == std::set<std::uint64_t>{26, 27});
  CHECK(owners(*map, 995, 1).empty());
  CHECK(map->doubly_owned() == std::set<std::uint64_t>{26, 27});
  CHECK(map->doubly_owned(volume, {25}) == std::set<std::uint64_t>{});
  CHECK(map->doubly_owned(volume, {25, 27}) == std::set<std::uint64_t>{26, 27});
}

// A volume whose files change at random.
struct Churn {
  explicit Churn(std::mt19937_64& dice, std::size_t files = 600) : random(dice) {
    volume.info_.volume_bytes = 4096ull * 4096;
    for (std::size_t i = 0; i < files; ++i) volume.files.push_back(some_file());
    before = volume;
  }

  ntfs::FileRecord some_file() {
    std::vector<ntfs::Run> runs;
    for (auto count = random() % 4; count > 0; --count)
      runs.push_back({0, random() % 4200, 1 + random() % (random() % 50 == 0 ? 2000 : 6), random() % 8 == 0});
    auto file = file_of(std::move(runs));
    if (random() % 20 == 0) file.attribute_list_runs.push_back({0, random() % 4000, 1, false});
    return file;
  }
  // The records changed; `before` is what was before.
  std::set<std::uint64_t> step() {
    before = volume;
    std::set<std::uint64_t> changed;
    for (auto count = random() % 40; count > 0; --count) {
      const auto record = 24 + random() % volume.files.size();
      changed.insert(record);
      switch (random() % 6) {
        case 0:
          volume.free.insert(record);
          volume.damaged.erase(record);
          break;
        case 1:
          volume.damaged.insert(record);
          volume.free.erase(record);
          break;
        default:
          volume.free.erase(record);
          volume.damaged.erase(record);
          if (random() % 3 != 0) volume.files[record - 24] = some_file();
      }
    }
    for (auto count = random() % 3; count > 0; --count) {
      changed.insert(24 + volume.files.size());
      volume.files.push_back(some_file());
    }
    // A damaged record that is whole again although its own bytes did not change: unsettled() tells.
    for (auto record = volume.damaged.begin(); record != volume.damaged.end();)
      record = random() % 10 == 0 ? volume.damaged.erase(record) : std::next(record);
    return changed;
  }

  std::mt19937_64& random;
  StreamVolume volume, before;
};

Result<void> follow(ClusterMap& map, const Churn& churn, std::set<std::uint64_t> records,
                    std::uint64_t step) {
  RS_TRY(auto unsettled, map.unsettled({}));
  records.merge(unsettled);
  return map.update(churn.before, churn.volume, records, state_of(step, churn.volume));
}

void check_equal(const ClusterMap& map, const Churn& churn, std::mt19937_64& random) {
  const auto fresh = ClusterMap::build(churn.volume, map.state()).value();
  REQUIRE(map.entries().value() == fresh->entries().value());
  REQUIRE(map.doubly_owned().value() == fresh->doubly_owned().value());
  RangeSet bytes;
  for (int i = 0; i < 20; ++i) bytes.add({random() % (4096ull * 4096), 1 + random() % 30'000});
  REQUIRE(map.owners(bytes).value() == fresh->owners(bytes).value());
  REQUIRE(map.unsettled(bytes).value() == fresh->unsettled(bytes).value());
  std::set<std::uint64_t> plain;  // the model: every run looked at
  for (std::size_t i = 0; i < churn.volume.files.size(); ++i)
    if (const auto file = churn.volume.record(24 + i))
      for (const auto* runs : {&file->streams[0].runs, &file->attribute_list_runs})
        for (const auto& run : *runs)
          if (!run.sparse && run.lcn + run.clusters <= 4096 &&
              bytes.overlaps({run.lcn * 4096, run.clusters * 4096}))
            plain.insert(24 + i);
  REQUIRE(map.owners(bytes).value() == plain);
}

TEST_CASE("a map that follows random changes is the map made anew, also when it was closed between") {
  auto random = support::seeded_random();
  for (const bool kept : {false, true}) {
    support::CrashFileSystem files;
    const MapPlace place{&files, kept ? kPath : ""};
    REQUIRE(files.make_directories("state"));
    Churn churn(random, 3000);
    auto map = ClusterMap::build(churn.volume, state_of(0, churn.volume), place).value();
    for (std::uint64_t step = 1; step < 300; ++step) {
      const auto records = churn.step();
      CAPTURE(step);
      REQUIRE(follow(*map, churn, records, step));
      if (kept && random() % 4 == 0) {
        map.reset();
        map = ClusterMap::open(place).value();
        REQUIRE(map->state() == state_of(step, churn.volume));
      }
      REQUIRE(map->kept() == kept);
      if (step % 20 == 0) check_equal(*map, churn, random);
    }
    check_equal(*map, churn, random);
  }
}

TEST_CASE("a map that does not fit into memory while it is built is sorted in files") {
  StreamVolume volume;
  volume.info_.volume_bytes = std::uint64_t{1} << 40;
  std::mt19937_64 random(1);
  std::vector<ntfs::Run> runs;
  for (std::uint64_t i = 0; i < 300; ++i) runs.push_back({0, random() % (1 << 20), 1, false});
  for (int i = 0; i < 4000; ++i) {
    auto& file = volume.files.emplace_back(file_of(runs));
    for (auto& run : file.streams[0].runs) run.lcn += static_cast<std::uint64_t>(i) << 10;
  }
  support::CrashFileSystem files;
  REQUIRE(files.make_directories("state"));
  const auto map = ClusterMap::build(volume, state_of(0, volume), {&files, kPath}).value();
  std::size_t count = 0;
  const auto entries = map->entries().value();
  for (std::size_t i = 1; i < entries.size(); ++i) count += entries[i] < entries[i - 1] ? 1 : 0;
  CHECK(count == 0);
  CHECK(entries.size() == 300 * 4000);
  CHECK(files.list_directory("state").value() == std::vector<std::string>{"clusters.map"});
}

// Builds, follows, closes and opens again; the maps that were true at each step.
Result<void> run(os::FileSystem& files, Churn& churn, std::vector<std::vector<MapEntry>>& truth) {
  const MapPlace place{&files, kPath};
  RS_CHECK(files.make_directories("state"));
  truth.clear();
  const auto remember = [&] {
    truth.push_back(ClusterMap::build(churn.volume, {})->get()->entries().value());
  };
  remember();
  RS_TRY(auto map, ClusterMap::build(churn.volume, state_of(0, churn.volume), place));
  for (std::uint64_t step = 1; step <= 6; ++step) {
    const auto records = churn.step();
    remember();
    RS_CHECK(follow(*map, churn, records, step));
    if (churn.random() % 2 == 0) {  // the map does not; the operating system does, some day
      RS_TRY(auto file, files.open(kPath, os::OpenMode::read_write));
      RS_CHECK(file->sync());
      RS_CHECK(files.sync_directory("state"));
    }
    if (step != 3) continue;
    map.reset();
    RS_TRY(map, ClusterMap::open(place));
  }
  return {};
}

TEST_CASE("after a crash at any point a map is what it says it is, or it is none") {
  auto random = support::seeded_random();
  set_log_level(LogLevel::error);  // maps that are not kept from here on
  const auto seed = random();
  std::vector<std::vector<MapEntry>> truth;
  support::CrashFileSystem whole;
  {
    std::mt19937_64 dice(seed);
    Churn churn(dice, 200);
    REQUIRE(run(whole, churn, truth));
  }
  std::size_t found = 0;
  for (std::uint64_t crash = 0; crash <= whole.operations(); ++crash) {
    for (int loss = 0; loss < 4; ++loss) {
      support::CrashFileSystem files;
      files.crash_after(crash);
      std::mt19937_64 dice(seed);
      Churn churn(dice, 200);
      (void)run(files, churn, truth);
      if (loss == 0)
        files.crash_after(~std::uint64_t{0});  // only the process died
      else
        files.power_loss(random());
      CAPTURE(crash);
      auto map = ClusterMap::open({&files, kPath});
      if (!map) continue;
      ++found;
      const auto step = load_le<std::uint64_t>((*map)->state().layer.bytes) - 1;
      REQUIRE(step < truth.size());
      const auto entries = (*map)->entries();
      if (entries) CHECK(*entries == truth[step]);  // or it is found out on reading
      if (!entries) CHECK(entries.error().code == ErrorCode::corrupt);
    }
  }
  CHECK(found > 0);
  set_log_level(LogLevel::info);
}

TEST_CASE("a damaged map never says anything that is not true") {
  auto random = support::seeded_random();
  std::vector<std::vector<MapEntry>> truth;
  support::CrashFileSystem files;
  Churn churn(random, 400);
  REQUIRE(run(files, churn, truth));
  const auto sound = os::read_file(files, kPath, 1 << 30).value();
  int refused = 0, older = 0, found_out = 0;
  for (int round = 0; round < 400; ++round) {
    auto bytes = sound;
    switch (round % 4) {
      case 0:
        bytes.resize(random() % bytes.size());
        break;
      case 1:  // a page where another was
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(random() % (bytes.size() / 4096) * 4096),
                    4096,
                    bytes.begin() + static_cast<std::ptrdiff_t>(random() % (bytes.size() / 4096) * 4096));
        break;
      default:
        bytes[random() % bytes.size()] ^= static_cast<std::byte>(1u << random() % 8);
    }
    if (bytes == sound) continue;
    REQUIRE(os::write_file_durably(files, kPath, bytes));
    auto map = ClusterMap::open({&files, kPath});
    if (!map) {
      ++refused;
      continue;
    }
    const auto step = load_le<std::uint64_t>((*map)->state().layer.bytes) - 1;
    const auto entries = (*map)->entries();
    if (!entries) {
      CHECK(entries.error().code == ErrorCode::corrupt);
      ++found_out;
      continue;
    }
    older += step + 1 < truth.size() ? 1 : 0;
    REQUIRE(*entries == truth.at(step));
  }
  CHECK(refused > 0);
  CHECK(older > 0);
  CHECK(found_out > 0);
}

TEST_CASE("a map that another process has open is not touched") {
  StreamVolume volume;
  volume.info_.volume_bytes = 1000 * 4096;
  support::CrashFileSystem files;
  REQUIRE(files.make_directories("state"));
  const auto map = ClusterMap::build(volume, state_of(0, volume), {&files, kPath}).value();
  CHECK(ClusterMap::open({&files, kPath}).error().code == ErrorCode::busy);
}

}  // namespace
}  // namespace roamstead::extract
