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

}  // namespace
}  // namespace roamstead::agent
