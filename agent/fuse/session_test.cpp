// Sessions on a plain directory as the volume, with a coordinator in memory and scripted snapshots.
#include "agent/core/session.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/core/snapshot_cycle.h"
#include "agent/fuse/posix_volume.h"
#include "agent/testing/memory_link.h"
#include "agent/testing/scripted_snapshots.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using testing::MemoryLink;
using testing::ScriptedSnapshots;
constexpr auto kPatience = std::chrono::milliseconds(5000);

struct Machine {
  support::TemporaryDirectory directory;
  MemoryLink link;
  ScriptedSnapshots snapshots;
  std::unique_ptr<PosixVolume> volume;
  SessionConfig config;

  Machine() {
    link.add_file("Documents/a.txt", "hello");
    auto opened = PosixVolume::attach(directory.path(), "Users/alice");
    REQUIRE(opened);
    volume = std::move(*opened);
    config.profile = "alice";
    config.profile_root = "Users/alice";
    config.change_log_path = directory / "change.log";
    config.snapshot_interval = std::chrono::milliseconds(0);
    config.loader.patience = std::chrono::milliseconds(100);
  }
  Result<std::unique_ptr<Session>> start(Faults faults = {}) {
    return Session::start(config, link, *volume, snapshots, std::move(faults));
  }
  std::unique_ptr<Session> must_start() {
    auto session = start();
    if (!session) FAIL(session.error().to_string());
    return std::move(*session);
  }
  // Paths of the files that arrived, in order.
  std::vector<std::string> arrived() const {
    std::vector<std::string> paths;
    for (auto& committed : link.commits())
      for (auto& record : committed.batch.records)
        paths.push_back(std::get<profile::Put>(record).path.text());
    return paths;
  }
};

TEST_CASE("what snapshots show arrives in order, and few layers stay") {
  Machine machine;
  auto session = machine.must_start();
  for (int i = 0; i < 5; ++i) {
    machine.snapshots.change("f" + std::to_string(i), "content " + std::to_string(i));
    auto taken = session->snapshot(i % 2 == 0, kPatience);
    REQUIRE_MESSAGE(taken, i);
    CHECK(taken->records == 1);
  }
  auto report = session->logout(kPatience);
  REQUIRE(report);
  CHECK(report->records == 5);
  CHECK(report->final_records == 0);
  CHECK(machine.arrived() == std::vector<std::string>{"f0", "f1", "f2", "f3", "f4"});
  CHECK(machine.link.commits()[2].content.at("f2:@0") == to_bytes("content 2"));
  CHECK(machine.snapshots.most_layers() <= SnapshotCycle::kMostFrozenLayers);
  CHECK(machine.snapshots.layers().size() == 2);  // nobody who logs off waits until they are merged
  session.reset();
  auto log = changelog::ChangeLog::open(os::real_file_system(), machine.config.change_log_path, {});
  REQUIRE(log);
  REQUIRE(Session::prepare(machine.config, machine.link, *machine.volume, machine.snapshots, **log));
  CHECK(machine.snapshots.layers().size() == 1);
  CHECK_FALSE(machine.snapshots.merged_while_open());
  CHECK(machine.snapshots.open_contents() == 0);
  CHECK_FALSE(machine.link.is_open());
}

// The hives' files as ever, and a count of how often they were asked to be up to date.
class CountingPort final : public RegistryPort {
 public:
  CountingPort(ProfileVolume& volume, std::function<std::string()> new_staging_path,
               std::atomic<int>& flushes, const ScriptedSnapshots& snapshots, std::size_t& frozen_then)
      : files_(volume, std::move(new_staging_path)),
        flushes_(flushes),
        snapshots_(snapshots),
        frozen_then_(frozen_then) {}
  Result<std::unique_ptr<MountedHive>> mount(const std::string& path, const profile::Entry& file) override {
    return files_.mount(path, file);
  }
  Result<std::unique_ptr<MountedHive>> make(const std::string& path, const profile::Entry& file,
                                            const profile::KeyEntry& root) override {
    return files_.make(path, file, root);
  }
  Result<void> flush() override {
    ++flushes_;
    frozen_then_ = snapshots_.layers().size();
    return {};
  }

 private:
  HiveFilePort files_;
  std::atomic<int>& flushes_;
  const ScriptedSnapshots& snapshots_;
  std::size_t& frozen_then_;
};

TEST_CASE(
    "hives that programs have mounted are brought up to date before every freeze, also of what is left") {
  Machine machine;
  std::atomic<int> flushes{0};
  std::size_t frozen_then = 0;
  machine.config.registry_port = [&](std::function<std::string()> new_staging_path) {
    return std::make_unique<CountingPort>(*machine.volume, std::move(new_staging_path), flushes,
                                          machine.snapshots, frozen_then);
  };
  auto session = machine.must_start();
  CHECK(flushes == 0);
  REQUIRE(session->snapshot(true, kPatience));
  CHECK(flushes == 2);  // before programs are held, and while they are
  CHECK(frozen_then + 1 == machine.snapshots.layers().size());
  SUBCASE("log-out") {
    REQUIRE(session->logout(kPatience));
    CHECK(flushes == 4);
  }
  SUBCASE("a session that was taken over while this machine was off") {
    session.reset();
    machine.snapshots.change("late", "x");
    machine.link.superseded = true;
    static_cast<void>(machine.start());
    CHECK(flushes == 3);
  }
}

TEST_CASE("a session that changed nothing sends nothing") {
  Machine machine;
  auto session = machine.must_start();
  auto report = session->logout(kPatience);
  REQUIRE(report);
  CHECK(report->records == 0);
  CHECK(machine.link.commits().empty());
  CHECK(machine.link.closes == 1);
}

TEST_CASE("while sending lags a further interval snapshot waits, and what it would have shown is not lost") {
  Machine machine;
  machine.config.snapshot_interval = std::chrono::milliseconds(30);
  auto session = machine.must_start();
  machine.link.away = true;
  for (int i = 0; i < 6; ++i) {
    machine.snapshots.change("f" + std::to_string(i), "x");
    session->note_change();
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
  }
  CHECK(machine.snapshots.layers().size() == SnapshotCycle::kMostFrozenLayers);
  CHECK(session->status()->sender.waiting <= 2);
  machine.link.away = false;
  REQUIRE(session->logout(kPatience));
  CHECK(machine.arrived() == std::vector<std::string>{"f0", "f1", "f2", "f3", "f4", "f5"});
  CHECK(machine.snapshots.most_layers() <= SnapshotCycle::kMostFrozenLayers);
}

TEST_CASE("a snapshot that could not be extracted is part of the next one") {
  Machine machine;
  auto session = machine.must_start();
  machine.snapshots.change("before", "1");
  REQUIRE(session->snapshot(true, kPatience));
  machine.snapshots.change("lost?", "2");
  machine.snapshots.fail_next_cut();
  CHECK_FALSE(session->snapshot(true, kPatience));
  machine.snapshots.change("after", "3");
  REQUIRE(session->snapshot(true, kPatience));
  CHECK(machine.arrived() == std::vector<std::string>{"before", "lost?", "after"});
  CHECK(session->logout(kPatience));
}

TEST_CASE("changes beyond the quota stay here, and go when it is raised or files are deleted") {
  Machine machine;
  auto session = machine.must_start();
  machine.snapshots.change("before", "1");
  REQUIRE(session->snapshot(true, kPatience));
  machine.link.quota = 10;
  machine.snapshots.change("large", std::string(11, 'x'));
  machine.snapshots.change("small", "y");
  auto refused = session->snapshot(true, kPatience);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::full);
  auto status = session->status().value();
  CHECK(status.sender.over_quota);
  CHECK(status.sender.waiting == 1);
  CHECK(status.sender.last_error.find("over its quota") != std::string::npos);
  std::vector<std::string> expected{"before", "large", "small"};
  SUBCASE("raised") {
    machine.link.quota = 100;
    REQUIRE(session->snapshot(true, kPatience));
  }
  SUBCASE("deleted") {
    machine.snapshots.take_back("large");
    REQUIRE(session->snapshot(true, kPatience));
    expected.erase(expected.begin() + 1);
  }
  SUBCASE("still too much, several times, then deleted before log-out") {
    for (int i = 0; i < 3; ++i) {
      machine.snapshots.change("more " + std::to_string(i), "z");
      CHECK_FALSE(session->snapshot(true, kPatience));
      expected.push_back("more " + std::to_string(i));
    }
    CHECK(machine.snapshots.most_layers() <= SnapshotCycle::kMostFrozenLayers + 1);
    machine.snapshots.take_back("large");
    expected.erase(expected.begin() + 1);
  }
  SUBCASE("raised after a restart") {
    session.reset();
    session = machine.must_start();
    machine.link.quota = 0;
  }
  SUBCASE("deleted after a restart") {
    session.reset();
    session = machine.must_start();
    machine.snapshots.take_back("large");
    (void)session->snapshot(true,
                            std::chrono::milliseconds(300));  // learns that it is refused, if it has not yet
    expected.erase(expected.begin() + 1);
  }
  REQUIRE(session->logout(kPatience));
  CHECK(machine.arrived() == expected);
  CHECK_FALSE(machine.snapshots.merged_while_open());
  CHECK(machine.snapshots.open_contents() == 0);
}

TEST_CASE("log-out without a coordinator fails, and works once it is back") {
  Machine machine;
  auto session = machine.must_start();
  machine.snapshots.change("f", "x");
  machine.link.away = true;
  auto failed = session->logout(std::chrono::milliseconds(300));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == ErrorCode::timeout);
  machine.link.away = false;
  REQUIRE(session->logout(kPatience));
  CHECK(machine.arrived() == std::vector<std::string>{"f"});
}

TEST_CASE("a batch whose answer was lost is committed once, whether or not the agent is restarted between") {
  for (bool restart : {false, true}) {
    Machine machine;
    auto session = machine.must_start();
    machine.snapshots.change("f", "content");
    machine.link.lose_replies = true;
    CHECK_FALSE(session->snapshot(true, std::chrono::milliseconds(300)));
    if (restart) session.reset();
    machine.link.lose_replies = false;
    if (restart) session = machine.must_start();
    REQUIRE(session->logout(kPatience));
    CHECK(machine.arrived() == std::vector<std::string>{"f"});
  }
}

TEST_CASE(
    "after a restart the session goes on: unsent batches go first, and nothing is cut twice or left out") {
  Machine machine;
  auto session = machine.must_start();
  machine.snapshots.change("committed", "1");
  REQUIRE(session->snapshot(true, kPatience));
  machine.link.away = true;
  machine.snapshots.change("queued", "22");
  REQUIRE(session->snapshot(false, kPatience));
  machine.snapshots.change("not cut", "333");
  session.reset();
  machine.link.away = false;
  session = machine.must_start();
  CHECK(session->status()->resumed);
  REQUIRE(session->logout(kPatience));
  CHECK(machine.arrived() == std::vector<std::string>{"committed", "queued", "not cut"});
  CHECK(machine.link.commits()[1].content.at("queued:@0") == to_bytes("22"));
  CHECK(machine.link.commits()[1].batch.incarnation != machine.link.commits()[0].batch.incarnation);
}

TEST_CASE("a resumed session that was handed over sends what is left as a fork, and a new one begins") {
  Machine machine;
  auto session = machine.must_start();
  machine.snapshots.change("late", "x");
  session.reset();
  machine.link.superseded = true;
  session = machine.must_start();
  CHECK_FALSE(session->status()->resumed);
  CHECK(machine.arrived() == std::vector<std::string>{"late"});
  REQUIRE(session->logout(kPatience));
}

TEST_CASE("what a closed session left is replaced; what nobody answers for is refused") {
  Machine machine;
  {
    auto session = machine.must_start();
    REQUIRE(session->logout(kPatience));
  }
  std::ofstream(machine.directory / "Users/alice/left behind") << "x";
  {
    auto session = machine.must_start();
    CHECK(machine.volume->stat("Users/alice/left behind").error().code == ErrorCode::not_found);
    REQUIRE(session->logout(kPatience));
  }
  // The change log is lost: whether everything was sent cannot be known.
  REQUIRE(os::real_file_system().remove(machine.config.change_log_path));
  auto refused = machine.start();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::conflict);
  machine.config.replace_leftovers = true;
  auto session = machine.must_start();
  REQUIRE(session->logout(kPatience));
}

TEST_CASE(
    "a log-in interrupted before the profile's root had its name is begun anew, whatever there is of it") {
  Machine machine;
  const auto journal = machine.directory / "ProgramData/Roamstead/provenance.journal";
  const auto interrupted = [&](const std::string& point) {
    Faults faults([&](std::string_view reached) -> Result<void> {
      return reached == point ? fail(ErrorCode::io, "fault") : Result<void>{};
    });
    REQUIRE_FALSE(machine.start(faults));
    REQUIRE(std::filesystem::exists(journal));
    REQUIRE_FALSE(std::filesystem::exists(machine.directory / "Users/alice"));
  };
  SUBCASE("the journal is durable, the change log's note of the session is not") {
    interrupted("changelog.begin.before_commit");
  }
  SUBCASE("the note is, and the journal is torn") {
    interrupted("changelog.begin.after_commit");
    SUBCASE("empty") { std::ofstream(journal, std::ios::trunc); }
    SUBCASE("zeros") { std::ofstream(journal, std::ios::trunc) << std::string(200, '\0'); }
    SUBCASE("cut") { std::filesystem::resize_file(journal, 30); }
  }
  SUBCASE("neither") {
    interrupted("changelog.begin.before_commit");
    std::filesystem::resize_file(journal, 30);
  }
  auto session = machine.must_start();
  CHECK(!session->status()->resumed);
  machine.snapshots.change("f", "x");
  REQUIRE(session->logout(kPatience));
  CHECK(machine.arrived() == std::vector<std::string>{"f"});
}

TEST_CASE("a journal that cannot be read is not thrown away while the profile is there") {
  Machine machine;
  machine.must_start().reset();
  std::filesystem::resize_file(machine.directory / "ProgramData/Roamstead/provenance.journal", 30);
  auto refused = machine.start();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::corrupt);
  machine.config.profile_root = "Users/other";  // it is there still, where the session had it
  CHECK_FALSE(machine.start());
}

TEST_CASE("what a desktop prepares before a log-in does no harm, and only where nothing is left to send") {
  Machine machine;
  const auto prepare = [&] {
    auto log = changelog::ChangeLog::open(os::real_file_system(), machine.config.change_log_path);
    REQUIRE(log);
    REQUIRE(Session::prepare(machine.config, machine.link, *machine.volume, machine.snapshots, **log));
  };
  prepare();
  auto session = machine.must_start();
  REQUIRE(session->logout(kPatience));
  session.reset();
  std::ofstream(machine.directory / "Users/alice/left behind") << "x";
  prepare();
  CHECK_FALSE(std::filesystem::exists(machine.directory / "Users/alice"));
  session = machine.must_start();
  machine.snapshots.change("f", "not sent");
  session.reset();  // the process ends
  prepare();
  CHECK(std::filesystem::exists(machine.directory / "Users/alice"));
  session = machine.must_start();
  CHECK(session->status()->resumed);
  REQUIRE(session->logout(kPatience));
  CHECK(machine.arrived() == std::vector<std::string>{"f"});
}

TEST_CASE("files at the profile's root that belong to no session are not touched") {
  Machine machine;
  REQUIRE(machine.volume->make_directories("Users/alice"));
  std::ofstream(machine.directory / "Users/alice/mine") << "x";
  auto refused = machine.start();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::exists);
  CHECK(machine.volume->stat("Users/alice/mine"));
}

TEST_CASE("a session of another profile must be logged out first") {
  Machine machine;
  machine.must_start().reset();
  machine.config.profile = "bob";
  auto refused = machine.start();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::busy);
}

TEST_CASE("whatever step of the change log fails, every change arrives exactly once after a restart") {
  for (std::string point : {"changelog.begin", "changelog.append", "changelog.acknowledge",
                            "changelog.note_cut", "changelog.close"})
    for (std::string when : {".before_commit", ".after_commit"})
      for (int time : {1, 2}) {
        INFO(point, when, " #", time);
        Machine machine;
        std::atomic<int> countdown{time};
        std::atomic<bool> broken{false};
        Faults faults([&](std::string_view reached) -> Result<void> {
          if (broken || (reached == point + when && --countdown == 0)) {
            broken = true;  // from here on as good as dead
            return fail(ErrorCode::io, "fault");
          }
          return {};
        });
        if (auto session = machine.start(faults)) {
          machine.snapshots.change("one", "1");
          (void)(*session)->snapshot(true, std::chrono::milliseconds(200));
          (void)(*session)->snapshot(true, std::chrono::milliseconds(200));
          machine.snapshots.change("two", "2");
          (void)(*session)->snapshot(false, std::chrono::milliseconds(200));
          bool closed = (*session)->logout(std::chrono::milliseconds(200)).has_value();
          CHECK(closed == !broken);
        } else {
          machine.snapshots.change("one", "1");
          machine.snapshots.change("two", "2");
        }
        if (auto log = changelog::ChangeLog::open(os::real_file_system(), machine.config.change_log_path))
          if (auto facts = *(*log)->session(); facts && !facts->open) machine.snapshots.forget_past();
        machine.snapshots.change("three", "3");
        auto session = machine.start();
        REQUIRE_MESSAGE(session, when);
        REQUIRE((*session)->logout(kPatience));
        CHECK(machine.arrived() == std::vector<std::string>{"one", "two", "three"});
      }
}

TEST_CASE(
    "a session whose profile is wanted elsewhere sends what there is, and programs can change nothing") {
  Machine machine;
  auto session = machine.must_start();
  auto id = session->status()->facts.session;
  machine.snapshots.change("f", "not sent yet");
  auto phase_is = [&](SessionPhase wanted) {
    for (int i = 0; i < 500 && session->status()->phase != wanted; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return session->status()->phase == wanted;
  };
  machine.link.push({wire::PushKind::flush, Guid::random(), 1000, "alice", "another session's"});
  SUBCASE("in time") {
    machine.link.push({wire::PushKind::flush, id, 5000, "alice", "desk-b"});
    REQUIRE(phase_is(SessionPhase::handed_over));
    CHECK(machine.arrived() == std::vector<std::string>{"f"});
    CHECK(machine.link.hand_overs == 1);
    machine.link.push({wire::PushKind::flush, id, 5000, "alice", "again"});
    CHECK(!session->loader().gate().check_program());
    machine.snapshots.change("g", "the volume changed all the same");
    auto report = session->logout(kPatience);
    REQUIRE(report);
    CHECK(report->forked);
    CHECK(machine.link.hand_overs == 1);
  }
  SUBCASE("the coordinator cannot be reached: the session goes on") {
    machine.link.away = true;
    machine.link.push({wire::PushKind::flush, id, 200, "alice", "desk-b"});
    REQUIRE(phase_is(SessionPhase::flushing));
    REQUIRE(phase_is(SessionPhase::open));
    CHECK(session->loader().gate().check_program());
    machine.link.away = false;
    machine.link.push({wire::PushKind::flush, id, 5000, "alice", "desk-b"});
    REQUIRE(phase_is(SessionPhase::handed_over));
    CHECK(machine.arrived() == std::vector<std::string>{"f"});
  }
}

TEST_CASE("a coordinator's wish for a log-out reaches who runs the session") {
  Machine machine;
  std::atomic<bool> wanted{false};
  machine.config.on_close_wanted = [&](const wire::Push&) { wanted = true; };
  auto session = machine.must_start();
  machine.link.push({wire::PushKind::close, session->status()->facts.session, 0, "alice", "maintenance"});
  for (int i = 0; i < 500 && !wanted; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(wanted);
}

TEST_CASE(
    "what programs touched first is fetched ahead at the next log-in, and background loads do not count") {
  Machine machine;
  for (int i = 0; i < 20; ++i)
    machine.link.add_file("Documents/f" + std::to_string(i), "content " + std::to_string(i));
  machine.link.add_file("Music/song", "la la");
  const auto read = [&](Session& session, const std::string& path, Priority priority) {
    REQUIRE(session.loader().populate_above(profile::ProfilePath::parse(path).value(), priority));
    auto handle = machine.volume->open("Users/alice/" + path, "");
    REQUIRE(handle);
    REQUIRE(session.loader().load(**handle, {0, 5}, priority));
  };
  {
    auto session = machine.must_start();
    read(*session, "Music/song", Priority::background);
    read(*session, "Documents/f7", Priority::foreground);
    read(*session, "Documents/f3", Priority::foreground);
    read(*session, "Documents/f7", Priority::foreground);
    REQUIRE(session->logout(kPatience));
  }
  using Kind = wire::WorkingItem::Kind;
  CHECK(machine.link.working_set() == std::vector<wire::WorkingItem>{{Kind::directory, "", ""},
                                                                     {Kind::directory, "Documents", ""},
                                                                     {Kind::file, "Documents/f7", ""},
                                                                     {Kind::file, "Documents/f3", ""}});
  auto session = machine.must_start();
  for (int i = 0; i < 500 && session->status()->prefetched < 4; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(session->status()->prefetched == 4);
  auto before = machine.link.reads.load();
  read(*session, "Documents/f7", Priority::foreground);
  read(*session, "Documents/f3", Priority::foreground);
  CHECK(machine.link.reads == before);
  read(*session, "Documents/f5", Priority::foreground);
  CHECK(machine.link.reads == before + 1);
}

TEST_CASE("what is learnt is bounded, and a coordinator's working set that is not is left alone") {
  WorkingSetLearner learner;
  learner.start(std::chrono::seconds(60));
  const auto path = [](int i) { return profile::ProfilePath::parse("file" + std::to_string(i)).value(); };
  learner.file(path(0), wire::kMostWorkingContentBytes + 1);
  CHECK(!learner.is_over());
  for (int i = 1; i < 5000; ++i) learner.file(path(i), 1);
  CHECK(learner.is_over());
  auto items = learner.take();
  CHECK(items.size() == wire::kMostWorkingItems);
  CHECK(items.front().path == "file1");
  CHECK(wire::check_working_set(items));
  CHECK(learner.take().empty());
  learner.file(path(1), 1);
  CHECK(learner.take().empty());
  items.push_back(items.front());
  Machine machine;
  {
    auto session = machine.must_start();
    REQUIRE(machine.link.learned(session->status()->facts.session_secret, items));
    REQUIRE(session->logout(kPatience));
  }
  CHECK(machine.must_start()->status()->to_prefetch == 0);
}

}  // namespace
}  // namespace roamstead::agent
