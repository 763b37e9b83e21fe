// Sessions opened ahead of a log-on: a plain directory as the volume, a coordinator in memory.
#include <doctest/doctest.h>

#include <filesystem>
#include <thread>

#include "agent/core/session.h"
#include "agent/core/unused_mark.h"
#include "agent/fuse/posix_volume.h"
#include "agent/testing/memory_link.h"
#include "agent/testing/scripted_snapshots.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using support::must;
using testing::MemoryLink;
using testing::ScriptedSnapshots;
using wire::SessionUse;

constexpr auto kPatience = std::chrono::milliseconds(20'000);

struct Machine {
  support::TemporaryDirectory directory;
  MemoryLink link;
  ScriptedSnapshots snapshots;
  std::unique_ptr<PosixVolume> volume;
  SessionConfig config;
  std::atomic<int> heard{0};

  Machine() {
    link.add_file("Documents/a.txt", "hello");
    link.add_file("Documents/Deep/b.txt", "deep");
    link.add_file("Pictures/c.txt", "picture");
    volume = must(PosixVolume::attach(directory.path(), "Users/alice"));
    config.profile = "alice";
    config.profile_root = "Users/alice";
    config.change_log_path = directory / "change.log";
    config.snapshot_interval = std::chrono::milliseconds(0);
    config.loader.patience = std::chrono::milliseconds(100);
    config.ahead = true;
    config.on_push = [this](const wire::Push&) { ++heard; };
  }
  Result<std::unique_ptr<Session>> start() { return Session::start(config, link, *volume, snapshots); }
  bool exists(const std::string& path) const {
    return std::filesystem::exists(directory.path() + "/Users/alice/" + path);
  }
  void until(const std::function<bool()>& so) const {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!so()) {
      REQUIRE(std::chrono::steady_clock::now() < end);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
};

TEST_CASE("ready means: the top level and the working set are there, and the coordinator knows") {
  Machine machine;
  {
    machine.config.ahead = false;
    auto session = must(machine.start());
    must(machine.link.learned(must(session->status()).facts.session_secret,
                              {{wire::WorkingItem::Kind::directory, "Documents/Deep", ""},
                               {wire::WorkingItem::Kind::directory, "Gone", ""}}));
    must(session->logout(kPatience));
    machine.config.ahead = true;
  }
  auto session = must(machine.start());
  CHECK(machine.link.use() == SessionUse::preparing);
  must(session->get_ready(kPatience));
  CHECK(session->use() == SessionUse::ready);
  CHECK(machine.exists("Documents/Deep/b.txt"));
  CHECK(machine.exists("Pictures"));
  CHECK(must(session->status()).fetched_bytes == 0);  // names, and no content
  machine.until([&] { return machine.link.use() == SessionUse::ready; });
}

TEST_CASE("a log-on takes over what was prepared, without asking, and what is changed then is saved") {
  Machine machine;
  auto session = must(machine.start());
  must(session->get_ready(kPatience));
  machine.until([&] { return machine.link.use() == SessionUse::ready; });
  machine.link.away = true;
  must(session->take_into_use());
  CHECK(session->use() == SessionUse::in_use);
  CHECK_FALSE(must(
      is_marked_unused(*machine.volume, machine.config.agent_root, must(session->status()).facts.session)));
  machine.link.away = false;
  machine.snapshots.change("new.txt", "new");
  must(session->logout(kPatience));
  REQUIRE(machine.link.commits().size() == 1);
  CHECK(machine.link.commits().front().batch.records.size() == 1);
}

TEST_CASE("nobody logs on: closed without a snapshot, and the next session begins afresh") {
  Machine machine;
  auto session = must(machine.start());
  must(session->get_ready(kPatience));
  must(session->close_unused());
  CHECK_FALSE(machine.link.is_open());
  CHECK(machine.snapshots.freezes() == 0);
  session.reset();
  machine.config.ahead = false;
  session = must(machine.start());
  CHECK_FALSE(must(session->status()).resumed);
  CHECK(session->use() == SessionUse::in_use);
  must(session->logout(kPatience));
}

TEST_CASE("what is wanted elsewhere goes at once, and a log-on that comes later is told so") {
  Machine machine;
  auto session = must(machine.start());
  const auto id = must(session->status()).facts.session;
  machine.link.push({wire::PushKind::flush, id, 10'000, "alice", "test"});
  machine.until([&] { return session->phase() == SessionPhase::handed_over; });
  CHECK(machine.link.hand_overs == 1);
  CHECK(machine.snapshots.freezes() == 0);
  const auto taken = session->take_into_use();
  REQUIRE_FALSE(taken);
  CHECK(taken.error().code == ErrorCode::stale);
  must(session->close_unused());
}

TEST_CASE(
    "a process that ended before the log-on: resumed by it, prepared again, or closed by another user's") {
  for (const std::string who : {"log-on", "prepare", "other"}) {
    CAPTURE(who);
    Machine machine;
    must(must(machine.start())->get_ready(kPatience));  // and it is destroyed, as by a crash
    machine.config.ahead = who == "prepare";
    if (who == "other") {
      machine.config.profile = "bob";
      machine.config.profile_root = "Users/bob";
      machine.volume = must(PosixVolume::attach(machine.directory.path(), "Users/bob"));
    }
    auto session = must(machine.start());
    CHECK(must(session->status()).resumed == (who != "other"));
    CHECK(session->use() == (who == "prepare" ? SessionUse::preparing : SessionUse::in_use));
    CHECK(machine.link.closes == (who == "other" ? 1 : 0));
    CHECK(must(is_marked_unused(*machine.volume, machine.config.agent_root,
                                must(session->status()).facts.session)) == (who == "prepare"));
  }
}

TEST_CASE("a session that somebody used is left to his log-on") {
  Machine machine;
  must(must(machine.start())->take_into_use());
  const auto again = machine.start();
  REQUIRE_FALSE(again);
  CHECK(again.error().code == ErrorCode::exists);
}

TEST_CASE("an unused session that was superseded meanwhile is not salvaged but begun anew") {
  Machine machine;
  must(must(machine.start())->get_ready(kPatience));
  machine.link.superseded = true;
  auto session = must(machine.start());
  CHECK_FALSE(must(session->status()).resumed);
  CHECK(machine.snapshots.freezes() == 0);
}

TEST_CASE("what the coordinator says of other things reaches whoever owns the session") {
  Machine machine;
  auto session = must(machine.start());
  machine.link.push({wire::PushKind::prepare, {}, 0, "bob", "test"});
  machine.link.push({wire::PushKind::policy_changed, {}, 0, "", "test"});
  machine.until([&] { return machine.heard == 2; });
}

}  // namespace
}  // namespace roamstead::agent
