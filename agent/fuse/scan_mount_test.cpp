// A session whose changes are found by scanning a real volume: NTFS by ntfs-3g, programs at its mount.
#include "agent/fuse/test_desk.h"
#include "agent/scan/scan_snapshots.h"

namespace roamstead::agent {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(20'000);

class ScannedDesk {
 public:
  ScannedDesk(const TestVolume& volume, MemoryLink& link) : home(volume.mount_point()) {
    volume_ = must(PosixVolume::attach(volume.path(), "Users/alice"));
    ScanSnapshots::Options options;
    options.directory = volume.state("scan");
    options.provenance_path = "ProgramData/Roamstead/provenance.journal";
    snapshots_ = must(ScanSnapshots::open(*volume_, os::real_file_system(), options));
    SessionConfig config;
    config.profile = "alice";
    config.profile_root = "Users/alice";
    config.change_log_path = volume.state("change.log");
    config.snapshot_interval = std::chrono::milliseconds(0);
    config.loader.patience = kPatience;
    session = must(Session::start(config, link, *volume_, *snapshots_));
    mount = must(ProfileMount::mount(session->loader(), *volume_, "Users/alice", home,
                                     [this] { session->note_change(); }));
    mount->start();
  }
  std::string operator/(const std::string& name) const { return home + "/" + name; }
  // What the batches since the last call say, a line for each record.
  std::set<std::string> saved(const MemoryLink& link) {
    must(session->snapshot(true, kPatience));
    return lines(link);
  }
  std::set<std::string> lines(const MemoryLink& link) {
    std::set<std::string> lines;
    const auto commits = link.commits();
    for (; seen_ < commits.size(); ++seen_)
      for (const auto& record : commits[seen_].batch.records) {
        if (const auto* put = std::get_if<profile::Put>(&record)) {
          std::string line = "put " + put->path.text();
          for (const auto& stream : put->contents)
            for (const auto& range : stream.writes)
              line +=
                  " " + stream.name + "@" + std::to_string(range.offset) + "+" + std::to_string(range.length);
          lines.insert(line);
        } else if (const auto* gone = std::get_if<profile::Delete>(&record)) {
          lines.insert("delete " + gone->source.text());
        } else if (const auto* move = std::get_if<profile::Move>(&record)) {
          lines.insert("move " + move->source.text() + " " + move->target.text());
        }
      }
    return lines;
  }

  ScanStatistics statistics() const { return snapshots_->statistics(); }

 private:
  std::unique_ptr<PosixVolume> volume_;
  std::unique_ptr<ScanSnapshots> snapshots_;
  std::size_t seen_ = 0;

 public:
  const std::string home;
  std::unique_ptr<Session> session;
  std::unique_ptr<ProfileMount> mount;  // goes before the session
};

TEST_CASE("what programs do to a scanned profile is saved, and only that, over restarts of the agent") {
  if (!can_mount() || !have_ntfs()) {
    std::cout << "skipped: needs root, /dev/fuse and ntfs-3g\n";
    return;
  }
  TestVolume volume(true);
  MemoryLink link;
  link.add_file("Documents/large", some_content(100'000));
  link.add_file("Documents/old name", some_content(5000));
  link.add_file("Documents/to go", some_content(50));
  link.add_file("Documents/untouched", some_content(70'000), {{"stream", "more"}});
  using Lines = std::set<std::string>;
  {
    ScannedDesk desk(volume, link);
    desk.session->fill().start(FillLevel::all);
    REQUIRE(desk.session->fill().wait(kPatience));
    CHECK(desk.saved(link) == Lines{});
    CHECK(link.commits().empty());

    std::fstream file(desk / "Documents/large", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(50'000);
    file << "X";
    file.close();
    REQUIRE(::rename((desk / "Documents/old name").c_str(), (desk / "Documents/new name").c_str()) == 0);
    REQUIRE(::unlink((desk / "Documents/to go").c_str()) == 0);
    REQUIRE(::mkdir((desk / "made").c_str(), 0755) == 0);
    write_whole(desk / "made/new", "fresh");
    CHECK(desk.saved(link) == Lines{"put Documents/large @49152+4096", "delete Documents/to go",
                                    "move Documents/old name Documents/new name", "put made",
                                    "put made/new @0+5"});
    CHECK(desk.saved(link) == Lines{});
    write_whole(desk / "made/new", "fresher");
    CHECK(desk.saved(link) == Lines{"put made/new @5+2"});  // what was sent is known by its tag
    // Not cut before the agent ends.
    write_whole(desk / "made/late", "late");
  }
  ScannedDesk desk(volume, link);
  CHECK(desk.session->status()->resumed);
  CHECK(read_whole(desk / "made/late") == "late");
  auto saved = desk.saved(link);
  CHECK(saved.count("put made/late @0+4") == 1);
  CHECK(desk.saved(link) == Lines{});
  REQUIRE(::rename((desk / "made").c_str(), (desk / "moved").c_str()) == 0);
  must(desk.mount->unmount());
  const auto report = must(desk.session->logout(kPatience));
  CHECK(report.final_records == 1);
  CHECK(report.records >= 1);
}

TEST_CASE("interval snapshots look at the folders that programs changed, and the others at all") {
  if (!can_mount() || !have_ntfs()) {
    std::cout << "skipped: needs root, /dev/fuse and ntfs-3g\n";
    return;
  }
  TestVolume volume(true);
  MemoryLink link;
  for (int i = 0; i < 20; ++i) link.add_file("folder/" + std::to_string(i) + "/file", some_content(5000));
  ScannedDesk desk(volume, link);
  desk.session->fill().start(FillLevel::all);
  REQUIRE(desk.session->fill().wait(kPatience));
  CHECK(desk.saved(link) == std::set<std::string>{});
  CHECK(desk.statistics().whole);
  desk.session->set_snapshot_interval(std::chrono::milliseconds(20));
  std::set<std::string> lines;
  const auto wait_for = [&](const std::string& last) {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (lines.count(last) == 0 && std::chrono::steady_clock::now() < until) {
      lines.merge(desk.lines(link));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    CHECK(lines.count(last) == 1);
  };
  write_whole(volume.path() + "/Users/alice/folder/3/unheard", "of");  // not by the mount
  write_whole(desk / "folder/7/new", "fresh");
  wait_for("put folder/7/new @0+5");
  CHECK(lines.count("put folder/3/unheard @0+2") == 0);
  CHECK_FALSE(desk.statistics().whole);
  REQUIRE(::mkdir((desk / "folder/made").c_str(), 0755) == 0);
  REQUIRE(::rename((desk / "folder/7/new").c_str(), (desk / "folder/made/moved").c_str()) == 0);
  wait_for("move folder/7/new folder/made/moved");
  REQUIRE(::rename((desk / "folder/made").c_str(), (desk / "folder/9/within").c_str()) == 0);
  wait_for("move folder/made folder/9/within");
  CHECK_FALSE(desk.statistics().whole);
  // That something is gone is told by a look at everything.
  REQUIRE(::unlink((desk / "folder/9/within/moved").c_str()) == 0);
  wait_for("delete folder/9/within/moved");
  CHECK(desk.statistics().whole);
  CHECK(lines.count("put folder/3/unheard @0+2") == 1);
  must(desk.mount->unmount());
  CHECK(must(desk.session->logout(kPatience)).final_records == 0);
}

// Says on the log what scans cost; run by hand, with --no-skip.
TEST_CASE("timing: scans of 10,000 files, whole and of what changed" * doctest::skip()) {
  if (!can_mount() || !have_ntfs()) return;
  TestVolume volume(true);
  MemoryLink link;
  for (int i = 0; i < 10'000; ++i)
    link.add_file("folder/" + std::to_string(i / 50) + "/" + std::to_string(i), some_content(100));
  ScannedDesk desk(volume, link);
  desk.session->fill().start(FillLevel::all);
  REQUIRE(desk.session->fill().wait(std::chrono::minutes(5)));
  CHECK(desk.saved(link) == std::set<std::string>{});
  CHECK(desk.saved(link) == std::set<std::string>{});
  std::this_thread::sleep_for(std::chrono::seconds(1));
  for (int i = 0; i < 5; ++i) CHECK(desk.saved(link) == std::set<std::string>{});
  desk.session->set_snapshot_interval(std::chrono::milliseconds(20));
  for (int round = 0; round < 8; ++round) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    if (round % 2 == 0) {
      desk.session->note_change();
      continue;
    }
    desk.session->set_snapshot_interval(std::chrono::milliseconds(0));
    for (int i = 0; i < 10; ++i)
      write_whole(desk / ("folder/" + std::to_string(i) + "/" + std::to_string(i * 50)),
                  std::to_string(round));
    desk.session->set_snapshot_interval(std::chrono::milliseconds(20));
  }
  must(desk.mount->unmount());
  must(desk.session->logout(kPatience));
}

}  // namespace
}  // namespace roamstead::agent
