// Profiles that are wanted on a second desktop.
#include <atomic>
#include <future>
#include <set>
#include <thread>

#include "coordinator/repository/forks.h"
#include "coordinator/server/testing/session_fixture.h"

namespace roamstead::server {
namespace {

using namespace std::chrono_literals;

// Keeps what is pushed; `on_push` plays the desktop.
struct ScriptedPort final : DesktopPort {
  bool is_connected(const std::string& desktop) const override { return connected.count(desktop) != 0; }
  void push(const std::string& desktop, const wire::Push& push) override {
    std::lock_guard lock(mutex);
    pushes.emplace_back(desktop, push);
  }
  std::vector<std::pair<std::string, wire::Push>> taken() {
    std::lock_guard lock(mutex);
    return std::exchange(pushes, {});
  }

  std::set<std::string> connected{"desk-a", "desk-b"};
  std::mutex mutex;
  std::vector<std::pair<std::string, wire::Push>> pushes;
};

struct HandOverFixture : SessionFixture {
  explicit HandOverFixture(SessionPolicy at_first = SessionPolicy::takeover,
                           std::chrono::milliseconds wait = 10s)
      : SessionFixture(at_first) {
    hand_over_wait = wait;
    restart();
    table->set_port(&port);
  }
  OpenStep step(const std::string& desktop) {
    return table->try_open(desktop, {"alice", "Users/alice", {}}, attempt, [this] { ++rung; }).value();
  }
  ScriptedPort port;
  OpenAttempt attempt;
  std::atomic<int> rung{0};
};

TEST_CASE("a desktop that is wanted elsewhere is asked to flush, and the second goes on from what it sent") {
  HandOverFixture f;
  auto a = f.open("desk-a").value();
  auto waiting = f.step("desk-b");
  REQUIRE(!waiting.reply);
  CHECK(waiting.ask_again > 5s);
  auto pushes = f.port.taken();
  REQUIRE(pushes.size() == 1);
  CHECK(pushes[0].first == "desk-a");
  CHECK(pushes[0].second.kind == wire::PushKind::flush);
  CHECK(pushes[0].second.session == a.session);
  CHECK(pushes[0].second.deadline_ms > 5'000);
  CHECK(f.table->find("alice")->wanted_by == "desk-b");
  CHECK(!f.step("desk-b").reply);  // asking again asks the desktop no second time
  CHECK(f.port.taken().empty());

  CHECK(!f.commit("desk-a", a, 1, {{"x", "flushed"}})->forked);
  CHECK(f.rung == 0);
  REQUIRE(f.table->hand_over("desk-a", a.session_secret));
  CHECK(f.rung > 0);
  auto b = f.step("desk-b");
  REQUIRE(b.reply);
  CHECK(b.reply->version == 2);
  CHECK(b.reply->epoch > a.epoch);
  CHECK(f.read("desk-b", *b.reply, "x").value() == "flushed");
  CHECK(f.commit("desk-a", a, 2, {{"x", "late"}})->forked);
  CHECK(code_of(f.table->renew("desk-a", a.session_secret)) == ErrorCode::stale);
  CHECK(f.table->hand_over("desk-a", a.session_secret));  // the answer may have been lost
  CHECK(!f.commit("desk-b", *b.reply, 1, {{"x", "b"}})->forked);
}

TEST_CASE("what was opened ahead of a log-on goes to whoever wants the profile, whatever the policy") {
  for (const auto policy : {SessionPolicy::takeover, SessionPolicy::refuse, SessionPolicy::read_only,
                            SessionPolicy::concurrent}) {
    HandOverFixture f(policy);
    const wire::OpenRequest ahead{"alice", "Users/alice", {}, wire::SessionUse::preparing};
    auto a = f.table->open("desk-a", ahead).value();
    REQUIRE(f.table->note_use("desk-a", {a.session_secret, 2}));
    CHECK(f.table->find("alice")->use == wire::SessionUse::ready);
    auto waiting = f.table->try_open("desk-b", ahead, f.attempt, [&] { ++f.rung; }).value();
    REQUIRE(!waiting.reply);
    CHECK(f.port.taken().size() == 1);
    REQUIRE(f.table->hand_over("desk-a", a.session_secret));
    auto b = f.table->try_open("desk-b", ahead, f.attempt, [&] { ++f.rung; }).value();
    REQUIRE(b.reply);
    CHECK(b.reply->may_save);
    CHECK(f.table->find("alice")->row.mode == SessionMode::exclusive);
  }
}

TEST_CASE("opening ahead of a log-on takes nothing from who uses it, nor from who began to use it") {
  HandOverFixture f;
  const wire::OpenRequest ahead{"alice", "Users/alice", {}, wire::SessionUse::preparing};
  auto a = f.table->open("desk-a", ahead).value();
  REQUIRE(f.table->note_use("desk-a", {a.session_secret, 0}));
  CHECK(code_of(f.table->open("desk-b", ahead)) == ErrorCode::busy);
  CHECK(f.port.taken().empty());
  CHECK(!f.step("desk-b").reply);  // a log-on does, as the policy says
  CHECK(f.port.taken().size() == 1);
  CHECK(code_of(f.table->note_use("desk-a", {a.session_secret, 3})) == ErrorCode::protocol);
  CHECK(code_of(f.table->note_use("desk-b", {a.session_secret, 1})) == ErrorCode::denied);
  f.now += 31s;  // nobody renews the lease
  CHECK(f.table->open("desk-b", ahead));
}

TEST_CASE("after a restart of the coordinator a session counts as used until its desktop says otherwise") {
  HandOverFixture f;
  const wire::OpenRequest ahead{"alice", "Users/alice", {}, wire::SessionUse::preparing};
  auto a = f.table->open("desk-a", ahead).value();
  f.restart();
  CHECK(f.table->find("alice")->use == wire::SessionUse::in_use);
  REQUIRE(f.table->note_use("desk-a", {a.session_secret, 1}));
  CHECK(f.table->find("alice")->use == wire::SessionUse::preparing);
}

TEST_CASE("who waits for a profile is woken by the hand-over") {
  HandOverFixture f;
  auto a = f.open("desk-a").value();
  auto began = Session::Clock::now();
  auto second = std::async(std::launch::async, [&] { return f.open("desk-b"); });
  while (f.port.taken().empty()) std::this_thread::sleep_for(1ms);
  SUBCASE("handed over") { REQUIRE(f.table->hand_over("desk-a", a.session_secret)); }
  SUBCASE("logged out meanwhile") { REQUIRE(f.table->close("desk-a", a.session_secret)); }
  CHECK(second.get());
  CHECK(Session::Clock::now() - began < 5s);
}

TEST_CASE("a desktop that does not answer loses the profile after the wait, and its late batch is a fork") {
  HandOverFixture f(SessionPolicy::takeover, 60ms);
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  auto began = Session::Clock::now();
  auto b = f.open("desk-b").value();
  CHECK(Session::Clock::now() - began >= 60ms);
  CHECK(b.version == 2);
  CHECK(f.commit("desk-a", a, 2, {{"x", "late"}})->forked);
  CHECK(code_of(f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 2})) == ErrorCode::stale);
  CHECK(!f.commit("desk-b", b, 1, {{"x", "b"}})->forked);
}

TEST_CASE("nobody waits longer than the lease of a desktop that is gone") {
  HandOverFixture f;
  auto a = f.open("desk-a").value();
  f.now += 29s;
  CHECK(f.step("desk-b").ask_again <= 1s);
  f.now += 2s;
  CHECK(f.step("desk-b").reply);
}

TEST_CASE("a flush that a desktop missed is said again on its next connection") {
  HandOverFixture f;
  f.table->set_port(nullptr);
  auto a = f.open("desk-a").value();
  CHECK(!f.step("desk-b").reply);
  f.table->set_port(&f.port);
  f.table->note_connection("desk-b");
  CHECK(f.port.taken().empty());
  f.table->note_connection("desk-a");
  auto pushes = f.port.taken();
  REQUIRE(pushes.size() == 1);
  CHECK(pushes[0].second.session == a.session);
}

TEST_CASE("a coordinator that restarts during a hand-over asks again") {
  HandOverFixture f;
  auto a = f.open("desk-a").value();
  CHECK(!f.step("desk-b").reply);
  f.port.taken();
  f.restart();
  f.table->set_port(&f.port);
  CHECK(!f.step("desk-b").reply);
  CHECK(f.port.taken().size() == 1);
  REQUIRE(f.table->hand_over("desk-a", a.session_secret));
  CHECK(f.step("desk-b").reply);
}

TEST_CASE("where the policy is read-only the second may read, and what it saves becomes a fork") {
  HandOverFixture f(SessionPolicy::read_only);
  auto a = f.open("desk-a").value();
  CHECK(a.may_save);
  auto b = f.open("desk-b").value();
  CHECK(!b.may_save);
  CHECK(f.port.taken().empty());
  CHECK(f.read("desk-b", b, "a.txt").value() == "first");
  CHECK(!f.commit("desk-a", a, 1, {{"x", "a"}})->forked);
  CHECK(f.commit("desk-b", b, 1, {{"x", "b"}})->forked);
  f.restart();
  CHECK(!f.open("desk-b", wire::ResumeInfo{b.session_secret, b.incarnation, 1})->may_save);
  CHECK(!f.commit("desk-a", a, 2, {{"x", "a2"}})->forked);
  // Once the first has logged out, who opens may save; the reader stays one.
  REQUIRE(f.table->close("desk-a", a.session_secret));
  auto again = f.open("desk-a").value();
  CHECK(again.may_save);
  CHECK(!f.commit("desk-a", again, 1, {{"x", "a3"}})->forked);
  CHECK(f.commit("desk-b", b, 2, {{"x", "b2"}})->forked);
  REQUIRE(f.table->close("desk-b", b.session_secret));
  CHECK(f.table->sessions(true)->size() == 1);
}

TEST_CASE("where the policy is concurrent both may save, and what they save is merged") {
  HandOverFixture f(SessionPolicy::concurrent);
  auto a = f.open("desk-a").value(), b = f.open("desk-b").value();
  CHECK(b.may_save);
  CHECK(f.port.taken().empty());
  CHECK(f.commit("desk-a", a, 1, {{"from a", "1"}, {"both", "a"}})->version == 2);
  auto merged = f.commit("desk-b", b, 1, {{"from b", "1"}, {"both", "b"}}).value();
  CHECK(!merged.forked);
  CHECK(merged.version == 4);  // 3 is what desk-b has, 4 what became of it at the head
  CHECK(f.head() == 4);
  CHECK(f.commit("desk-b", b, 1, {{"from b", "1"}, {"both", "b"}})->version == 4);  // sent again: recognised
  CHECK(!f.commit("desk-a", a, 2, {{"from a", "2"}})->forked);
  CHECK(!f.commit("desk-b", b, 2, {{"from b", "2"}})->forked);
  f.restart();
  auto again = f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 2}).value();
  CHECK(!f.commit("desk-a", again, 1, {{"from a", "3"}})->forked);
  CHECK(!f.commit("desk-b", b, 3, {{"from b", "3"}})->forked);
  REQUIRE(f.table->close("desk-a", a.session_secret));
  REQUIRE(f.table->close("desk-b", b.session_secret));
  auto later = f.open("desk-a").value();
  CHECK(f.read("desk-a", later, "from a").value() == "3");
  CHECK(f.read("desk-a", later, "from b").value() == "3");
  CHECK(f.read("desk-a", later, "both").value() == "a");
  CHECK(f.read("desk-a", later, "both.conflict").value() == "b");
  for (auto& fork : repository::forks_of(f.repository.versions(f.alice.id).value())) CHECK(!fork.is_open());
}

TEST_CASE("a batch that was saved to be merged is merged when it comes again after a crash") {
  HandOverFixture f(SessionPolicy::concurrent);
  auto a = f.open("desk-a").value(), b = f.open("desk-b").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "a"}}));
  int commits = 0;
  f.repository.before_commit = [&]() -> Result<void> {
    return ++commits == 3 ? fail(ErrorCode::io, "the power went") : Result<void>();  // the merge
  };
  CHECK(!f.commit("desk-b", b, 1, {{"y", "b"}}));
  CHECK(f.head() == 2);
  f.repository.before_commit = nullptr;
  SUBCASE("the coordinator went too") { f.restart(); }
  SUBCASE("it did not") {}
  SUBCASE("the next batch comes first") { CHECK(!f.commit("desk-b", b, 2, {{"z", "b"}})->forked); }
  wire::BatchBegin begin{b.session_secret, b.incarnation, 1, 0, 0};
  if (f.head() == 2) CHECK(!f.table->find_committed("desk-b", begin).value());  // welcome: there is work left
  CHECK(!f.commit("desk-b", b, 1, {{"y", "b"}})->forked);
  CHECK(f.table->find_committed("desk-b", begin).value());
  auto later = f.open("desk-a").value();
  CHECK(f.read("desk-a", later, "y").value() == "b");
}

TEST_CASE("a fork merged during a session does not make its next batch a fork; a version restored does") {
  HandOverFixture f(SessionPolicy::takeover, 10ms);
  auto a = f.open("desk-a").value();
  auto b = f.open("desk-b").value();
  CHECK(f.commit("desk-a", a, 1, {{"late", "a"}})->forked);
  REQUIRE(f.repository.merge(f.alice.id, 2, false, {}));
  CHECK(!f.commit("desk-b", b, 1, {{"x", "b"}})->forked);
  auto later = f.open("desk-b").value();
  CHECK(f.read("desk-b", later, "late").value() == "a");
  CHECK(f.read("desk-b", later, "x").value() == "b");
  // What nobody prepared is not merged unasked, nor is what builds on it.
  CHECK(f.commit("desk-b", later, 1, {{"x", "torn"}}, false)->forked);
  CHECK(f.commit("desk-b", later, 2, {{"x", "on it"}})->forked);
  auto last = f.open("desk-b").value();
  REQUIRE(f.commit("desk-b", last, 1, {{"x", "c"}}));
  REQUIRE(f.repository.restore(f.alice.id, 1, {}));
  CHECK(f.commit("desk-b", last, 2, {{"x", "d"}})->forked);
}

TEST_CASE("a desktop whose lease ran out without a connection is noted as vanished, until it is heard of") {
  HandOverFixture f;
  auto a = f.open("desk-a").value();
  f.now += 31s;
  f.table->look_for_vanished();
  CHECK(!f.table->find("alice")->vanished);  // connected, if silent
  f.port.connected.erase("desk-a");
  f.table->look_for_vanished();
  auto info = f.table->find("alice").value();
  CHECK(info.vanished);
  CHECK(!info.connected);
  REQUIRE(f.table->renew("desk-a", a.session_secret));
  CHECK(!f.table->find("alice")->vanished);
  f.table->look_for_vanished();
  CHECK(!f.table->find("alice")->vanished);
}

TEST_CASE("an administrator may ask for a log-out, of a desktop that can be asked") {
  HandOverFixture f;
  CHECK(code_of(f.table->ask_to_close("alice", 5s, "maintenance")) == ErrorCode::not_found);
  auto a = f.open("desk-a").value();
  REQUIRE(f.table->ask_to_close("alice", 5s, "maintenance"));
  auto pushes = f.port.taken();
  REQUIRE(pushes.size() == 1);
  CHECK(pushes[0].second == wire::Push{wire::PushKind::close, a.session, 5'000, "alice", "maintenance"});
  f.port.connected.clear();
  CHECK(code_of(f.table->ask_to_close("alice", 5s, "maintenance")) == ErrorCode::unavailable);
}

TEST_CASE("session policies have names") {
  for (auto policy :
       {SessionPolicy::takeover, SessionPolicy::refuse, SessionPolicy::read_only, SessionPolicy::concurrent})
    CHECK(parse_session_policy(to_string(policy)).value() == policy);
  CHECK(code_of(parse_session_policy("Takeover")) == ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace roamstead::server
