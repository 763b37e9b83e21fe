// Sessions on a state store whose disk fills up or fails while many commit, and on a machine whose clock is
// set: what was acknowledged stays so, nobody loses a lease for it, and it goes on without a person.
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "coordinator/server/testing/session_fixture.h"
#include "tests/support/faulty_sqlite.h"
#include "tests/support/seed.h"

namespace {

std::atomic<std::int64_t> clock_offset_s{0};

}  // namespace

// The system's clock as this program sees it; the steady one is the kernel's.
extern "C" int clock_gettime(clockid_t clock, struct timespec* time) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  if (clock == CLOCK_REALTIME) time->tv_sec += clock_offset_s.load();
  return result;
}

using namespace roamstead;
using namespace roamstead::server;
using Fixture = SessionFixture;

namespace {

// One desktop with a profile of its own, that sends each batch until it is acknowledged.
struct Sender {
  std::string desktop, profile;
  repository::ProfileInfo info;
  std::optional<wire::OpenReply> session;
  std::uint64_t acknowledged = 0;  // batches of this session
  std::uint64_t versions = 1;      // what was acknowledged in all, the first import with it
  std::uint64_t epoch = 0;

  Result<void> step(SessionTable& table) {
    if (!session) {
      RS_TRY(auto opened, table.open(desktop, {profile, "Users/" + profile, {}}));
      if (opened.epoch < epoch) return fail(ErrorCode::internal, "an epoch that went back");
      if (opened.version < versions || opened.version > versions + 1)
        return fail(ErrorCode::internal, "opened version " + std::to_string(opened.version) +
                                             ", acknowledged " + std::to_string(versions));
      epoch = opened.epoch;
      versions = opened.version;
      acknowledged = 0;
      session = opened;
      return {};
    }
    SampleBatch sample(session->incarnation, acknowledged + 1, {{"f", std::to_string(versions + 1)}});
    RS_TRY(const auto reply, table.commit(desktop, session->session_secret, sample.batch, sample));
    if (reply.forked || reply.version != versions + 1)
      return fail(ErrorCode::internal, "version " + std::to_string(reply.version) + " after " +
                                           std::to_string(versions) + (reply.forked ? ", forked" : ""));
    ++acknowledged;
    ++versions;
    if (acknowledged % 5 != 0) return {};
    const auto secret = session->session_secret;
    session.reset();
    return table.close(desktop, secret);
  }
};

}  // namespace

TEST_CASE(
    "the state store's disk fills up or fails under load: every acknowledged batch is known afterwards") {
  auto random = support::seeded_random();
  support::FaultySqlite sqlite;
  std::size_t failures = 0;
  for (int round = 0; round < 12; ++round) {
    CAPTURE(round);
    Fixture f;
    std::vector<Sender> senders(8);
    for (std::size_t i = 0; i < senders.size(); ++i) {
      auto& sender = senders[i];
      sender.desktop = "desk-" + std::to_string(i);
      sender.profile = "user-" + std::to_string(i);
      sender.info = f.repository.add_profile(sender.profile, {{"f", "1"}});
      REQUIRE(f.store->assign({sender.desktop, sender.info.id, sender.profile}));
    }
    for (int life = 0; life < 3; ++life) {
      static constexpr int kFaults[] = {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC};
      const int fault = kFaults[random() % std::size(kFaults)];
      const bool lasting = random() % 2 == 0;
      std::atomic<int> left{static_cast<int>(random() % 60)};
      std::atomic<bool> failing{false};
      if (life < 2)
        sqlite.set_plan([&]() -> int {
          if (--left >= 0 || (failing && !lasting)) return SQLITE_OK;
          failing = true;
          return fault;
        });
      std::vector<std::thread> threads;
      std::vector<std::string> wrong(senders.size());
      std::atomic<std::size_t> refused{0};
      for (std::size_t i = 0; i < senders.size(); ++i)
        threads.emplace_back([&, i] {
          for (int n = 0; n < 14; ++n) {
            const auto done = senders[i].step(*f.table);
            if (done) continue;
            ++refused;
            if (!failing || done.error().code == ErrorCode::internal) wrong[i] = done.error().to_string();
            return;  // as the coordinator, which starts again after a failed write
          }
        });
      for (auto& thread : threads) thread.join();
      failures += refused;
      for (const auto& text : wrong) CHECK_MESSAGE(text.empty(), text);
      sqlite.set_plan({});
      f.restart();
      // Each batch that was not answered is sent again first, whatever became of it; then all go on.
      for (auto& sender : senders) {
        for (int n = 0; n < 2; ++n) {
          const auto done = sender.step(*f.table);
          if (done) continue;
          // A session whose closing was cut short may be over already: its desktop opens anew.
          const auto text = done.error().to_string();
          CHECK_MESSAGE((done.error().code == ErrorCode::stale || done.error().code == ErrorCode::not_found ||
                         done.error().code == ErrorCode::denied),
                        text);
          sender.session.reset();
          const auto again = sender.step(*f.table);
          CHECK_MESSAGE(again, (again ? "" : again.error().to_string()));
        }
        CHECK(f.repository.versions(sender.info.id)->size() == sender.versions);
      }
    }
  }
  CHECK(failures > 12);
}

TEST_CASE("a clock set years ahead and back ends no lease, and no wait becomes longer") {
  Fixture f;
  SessionOptions options;  // with the clock that the coordinator has
  options.lease = std::chrono::seconds(20);
  options.hand_over_wait = std::chrono::milliseconds(100);
  options.policy_of = [](const std::string&) { return SessionPolicy::refuse; };
  f.table.reset();
  f.table = SessionTable::create(*f.store, f.repository, options, {}).value();
  constexpr std::int64_t kYear = 365 * 24 * 3600;
  const auto a = f.open("desk-a").value();
  std::uint64_t ordinal = 0;
  for (const auto offset : {kYear, -5 * kYear, 10 * kYear, std::int64_t{-3600}, std::int64_t{0}}) {
    CAPTURE(offset);
    clock_offset_s = offset;
    CHECK(code_of(f.open("desk-b")) == ErrorCode::busy);
    CHECK(f.table->renew("desk-a", a.session_secret));
    ++ordinal;
    CHECK_FALSE(f.commit("desk-a", a, ordinal, {{"x", std::to_string(ordinal)}})->forked);
  }
  // Set back by an hour while a log-out waits for a commit.
  std::promise<void> entered, leave;
  f.repository.before_commit = [&]() -> Result<void> {
    entered.set_value();
    leave.get_future().wait();
    return {};
  };
  std::thread committing([&] { CHECK(f.commit("desk-a", a, ordinal + 1, {{"x", "last"}})); });
  entered.get_future().wait();
  clock_offset_s = 3600;
  auto closing = std::async(std::launch::async, [&] { return f.table->close("desk-a", a.session_secret); });
  CHECK(closing.wait_for(std::chrono::seconds(10)) == std::future_status::ready);
  clock_offset_s = 0;
  leave.set_value();
  committing.join();
  CHECK(code_of(closing.get()) == ErrorCode::busy);
  f.repository.before_commit = nullptr;
  CHECK(f.table->close("desk-a", a.session_secret));
  CHECK(f.open("desk-b")->version == ordinal + 2);
}
