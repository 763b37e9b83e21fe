// Sessions whose snapshots the host makes, with a host in memory that can be late, forget, fail or be away.
#include "agent/core/host_snapshots.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <thread>

#include "agent/core/session.h"
#include "agent/fuse/posix_volume.h"
#include "agent/testing/memory_link.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using std::chrono::milliseconds;
using support::must;
using testing::MemoryLink;
using wire::SnapshotState;
constexpr auto kPatience = milliseconds(20'000);

class Host final : public wire::SnapshotLink {
 public:
  Result<wire::SnapshotOffer> snapshot_offer(const Guid& secret) override {
    std::lock_guard lock(mutex);
    if (!offers) return fail(ErrorCode::unsupported, "no snapshots are made of this desktop");
    if (!secret.is_zero()) ++registered;
    return wire::SnapshotOffer{0};
  }
  Result<wire::FrozenReply> quiet(const wire::QuietRequest& request, milliseconds within) override {
    std::unique_lock lock(mutex);
    quiets.push_back(request);
    if (while_quiet) while_quiet();
    if (busy_times > 0) {
      --busy_times;
      return fail(ErrorCode::busy, "layers are merged");
    }
    if (hangs) {
      hung_ms = within.count();
      lock.unlock();
      std::this_thread::sleep_for(within);
      return fail(ErrorCode::timeout, "no answer");
    }
    frozen = Guid::random();
    return wire::FrozenReply{durable + 1, frozen};
  }
  Result<SnapshotState> held(const wire::HeldRequest& request, milliseconds) override {
    std::lock_guard lock(mutex);
    helds.push_back(request);
    if (before_held) before_held(request);
    SnapshotState state;
    if (!request.held) return state;
    if (forgets > 0) {
      --forgets;
      return state;
    }
    if (away_times > 0) {
      --away_times;
      return fail(ErrorCode::unavailable, "away");
    }
    if (working_times > 0) {
      --working_times;
      state.kind = SnapshotState::Kind::working;
      return state;
    }
    if (fails) {
      state.kind = SnapshotState::Kind::failed;
      state.code = "full";
      state.message = "beyond the quota";
      return state;
    }
    durable = request.ordinal;
    state.kind = SnapshotState::Kind::saved;
    state.version = 10 + durable;
    state.records = records;
    state.frozen_layers = 1;
    return state;
  }

  std::mutex mutex;
  std::function<void()> while_quiet;
  std::function<void(const wire::HeldRequest&)> before_held;
  bool offers = true, hangs = false, fails = false;
  int busy_times = 0, forgets = 0, away_times = 0, working_times = 0, registered = 0;
  std::int64_t hung_ms = 0;
  std::uint64_t durable = 0, records = 1;
  Guid frozen;
  std::vector<wire::QuietRequest> quiets;
  std::vector<wire::HeldRequest> helds;
};

struct Machine {
  support::TemporaryDirectory directory;
  MemoryLink link;
  Host host;
  HostSnapshots snapshots{host, {.hold_at_most = milliseconds(200)}};
  std::unique_ptr<PosixVolume> volume;
  SessionConfig config;

  Machine() {
    link.add_file("Documents/a.txt", "hello");
    volume = must(PosixVolume::attach(directory.path(), "Users/alice"));
    config.profile = "alice";
    config.profile_root = "Users/alice";
    config.change_log_path = directory / "change.log";
    config.snapshot_interval = milliseconds(0);
  }
  std::unique_ptr<Session> start() { return must(Session::start(config, link, *volume, snapshots)); }
};

TEST_CASE("a snapshot by the host holds programs until it is frozen, and is done when it is durable") {
  Machine machine;
  auto session = machine.start();
  auto& gate = session->loader().gate();
  std::atomic<bool> passed{false};
  std::thread program;
  machine.host.while_quiet = [&] {
    program = std::thread([&] {
      Gate::Pass pass(gate);
      passed = true;
    });
    std::this_thread::sleep_for(milliseconds(20));
    CHECK_FALSE(passed);
  };
  machine.host.before_held = [&](const wire::HeldRequest& request) {
    CHECK(request.ordinal == 1);
    CHECK(request.held);
    CHECK(must(session->status()).facts.highest_ordinal == 1);  // before anything can be committed
  };
  machine.host.working_times = 2;
  const auto taken = must(session->snapshot(true, kPatience));
  program.join();
  CHECK(taken.taken);
  CHECK(taken.records == 1);
  CHECK(taken.ordinal == 1);
  auto status = must(session->status());
  CHECK(status.facts.last_cut == machine.host.frozen);
  CHECK(status.sender.last_version == 11);
  CHECK(status.frozen_layers == 1);
  machine.host.while_quiet = {};
  machine.host.before_held = {};
  machine.host.records = 0;
  const auto report = must(session->logout(kPatience));
  CHECK(report.final_records == 0);
  CHECK(report.version == 11);
  CHECK(machine.host.quiets.back().ended);
  CHECK_FALSE(machine.host.quiets.front().ended);
  CHECK_FALSE(machine.link.is_open());
  CHECK(machine.link.commits().empty());
}

TEST_CASE("a host that is not heard holds nobody for longer than it may, and the next snapshot tries again") {
  Machine machine;
  auto session = machine.start();
  machine.host.hangs = true;
  const auto taken = session->snapshot(true, milliseconds(0));
  REQUIRE_FALSE(taken);
  CHECK(taken.error().code == ErrorCode::timeout);
  CHECK(machine.host.hung_ms <= 200);
  {
    Gate::Pass pass(session->loader().gate());  // nobody is held any more
  }
  CHECK(must(session->status()).facts.highest_ordinal == 0);
  REQUIRE(machine.host.helds.size() == 1);
  CHECK_FALSE(machine.host.helds[0].held);  // it says that it let go
  machine.host.hangs = false;
  CHECK(must(session->snapshot(true, kPatience)).records == 1);
  CHECK(machine.host.quiets[0].token != machine.host.quiets[1].token);
}

TEST_CASE("what a host forgot, or had no time for, is taken again; what it cannot save is said") {
  Machine machine;
  auto session = machine.start();
  SUBCASE("forgotten") { machine.host.forgets = 2; }
  SUBCASE("busy") { machine.host.busy_times = 2; }
  SUBCASE("away for a while") { machine.host.away_times = 2; }
  SUBCASE("it fails") {
    machine.host.fails = true;
    const auto taken = session->snapshot(true, kPatience);
    REQUIRE_FALSE(taken);
    CHECK(taken.error().code == ErrorCode::full);
    CHECK(taken.error().to_string().find("beyond the quota") != std::string::npos);
    CHECK(must(session->status()).sender.last_error.find("beyond the quota") != std::string::npos);
    CHECK_FALSE(session->logout(milliseconds(100)));  // it stays open
    CHECK(machine.link.is_open());
    machine.host.fails = false;
  }
  CHECK(must(session->snapshot(true, kPatience)).records == 1);
  CHECK(must(session->status()).facts.highest_ordinal == 1);
  CHECK(session->logout(kPatience));
}

TEST_CASE("a snapshot that the host says is due is taken when something has changed, and else not") {
  Machine machine;
  machine.config.snapshot_interval = milliseconds(60'000);
  auto session = machine.start();
  const auto id = must(session->status()).facts.session;
  const auto due = [&] { machine.link.push({wire::PushKind::snapshot_due, id, 0, "alice", ""}); };
  const auto quiets = [&] {
    std::lock_guard lock(machine.host.mutex);
    return machine.host.quiets.size();
  };
  due();
  session->note_change();
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (quiets() == 0 && std::chrono::steady_clock::now() < end) {
    due();
    std::this_thread::sleep_for(milliseconds(5));
  }
  CHECK(quiets() != 0);
  CHECK(session->logout(kPatience));
}

TEST_CASE("a session that was taken over while this machine was off is saved once more from its host") {
  Machine machine;
  machine.start().reset();
  machine.link.superseded = true;
  static_cast<void>(Session::start(machine.config, machine.link, *machine.volume, machine.snapshots));
  REQUIRE(machine.host.quiets.size() == 1);
  CHECK(machine.host.quiets[0].ended);
  CHECK(machine.host.helds.back().held);
}

TEST_CASE("a desktop of which no snapshots are made is told so") {
  Machine machine;
  machine.host.offers = false;
  const auto refused = machine.snapshots.check();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
}

}  // namespace
}  // namespace roamstead::agent
