#include "common/changelog/change_log.h"

#include <doctest/doctest.h>

#include "tests/support/crash_file_system.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::changelog {
namespace {

using support::CrashFileSystem;

Guid guid(unsigned number) {
  Guid result;
  result.bytes[0] = static_cast<std::byte>(number);
  return result;
}

SessionFacts facts_of(unsigned number) {
  SessionFacts facts;
  facts.session = guid(number);
  facts.session_secret = guid(number + 1);
  facts.incarnation = guid(number + 2);
  facts.profile = "S-1-5-21-1-2-3-1001";
  facts.profile_root = "Users/alice";
  facts.version = 7;
  return facts;
}

QueuedBatch batch_of(unsigned number) {
  QueuedBatch queued;
  profile::Put put;
  put.path = *profile::ProfilePath::parse("file " + std::to_string(number));
  put.entry.size_bytes = number;
  queued.batch.records.push_back(put);
  queued.batch.snapshot = guid(100 + number);
  queued.frozen_path = "layer-" + std::to_string(number);
  queued.locators = Bytes(number % 5000, std::byte{0x5A});
  return queued;
}

TEST_CASE("batches leave the queue in the order they came, acknowledged ones for good") {
  support::TemporaryDirectory directory;
  auto path = directory / "change.log";
  {
    auto log = ChangeLog::open(os::real_file_system(), path);
    REQUIRE_MESSAGE(log, log.error().to_string());
    CHECK_FALSE((*log)->append(batch_of(1)));  // no session yet
    REQUIRE((*log)->begin_session(facts_of(1)));
    for (unsigned i = 1; i <= 3; ++i) CHECK(*(*log)->append(batch_of(i)) == i);
    CHECK((*log)->acknowledge(1));
    CHECK((*log)->begin_session(facts_of(9)).error().code == ErrorCode::busy);
    CHECK((*log)->close_session().error().code == ErrorCode::busy);
  }
  auto log = ChangeLog::open(os::real_file_system(), path);
  REQUIRE(log);
  auto next = *(*log)->next();
  REQUIRE(next);
  CHECK(next->batch.ordinal == 2);
  CHECK(next->batch.incarnation == facts_of(1).incarnation);
  CHECK(next->locators == batch_of(2).locators);
  auto facts = **(*log)->session();
  CHECK(facts.highest_ordinal == 3);
  CHECK(facts.last_cut == guid(103));
  CHECK((*log)->acknowledge(3));
  CHECK_FALSE(*(*log)->next());
  CHECK((*log)->close_session());
  CHECK_FALSE((**(*log)->session()).open);
}

TEST_CASE("a resumed session numbers what is not committed anew") {
  support::TemporaryDirectory directory;
  auto log = ChangeLog::open(os::real_file_system(), directory / "change.log");
  REQUIRE(log);
  REQUIRE((*log)->begin_session(facts_of(1)));
  for (unsigned i = 1; i <= 4; ++i) REQUIRE((*log)->append(batch_of(i)));
  REQUIRE((*log)->acknowledge(1));
  REQUIRE((*log)->resume_session(guid(50), 2));
  auto next = *(*log)->next();
  REQUIRE(next);
  CHECK(next->batch.ordinal == 1);
  CHECK(next->batch.incarnation == guid(50));
  CHECK(next->batch.records == batch_of(3).batch.records);
  CHECK((**(*log)->session()).highest_ordinal == 2);
  CHECK(*(*log)->append(batch_of(5)) == 3);
}

TEST_CASE("batches that were taken back leave the next one their number and where it begins") {
  support::TemporaryDirectory directory;
  auto log = ChangeLog::open(os::real_file_system(), directory / "change.log").value();
  REQUIRE(log->begin_session(facts_of(1)));
  CHECK(!log->withdraw().value());
  for (unsigned i = 1; i <= 3; ++i) REQUIRE(log->append(batch_of(i)));
  REQUIRE(log->acknowledge(1));
  REQUIRE(log->note_cut(guid(77)));
  CHECK(log->withdraw().value());
  CHECK(log->pending().value() == 0);
  CHECK(log->session().value()->last_cut == guid(101));
  CHECK(log->session().value()->highest_ordinal == 1);
  CHECK(log->append(batch_of(9)).value() == 2);
}

TEST_CASE("an ordinal that the host has used counts as cut, though nothing waits") {
  support::TemporaryDirectory directory;
  auto log = ChangeLog::open(os::real_file_system(), directory / "change.log").value();
  CHECK_FALSE(log->note_ordinal(1));  // of no session
  REQUIRE(log->begin_session(facts_of(1)));
  REQUIRE(log->note_ordinal(3));
  REQUIRE(log->note_ordinal(2));
  CHECK(log->session().value()->highest_ordinal == 3);
  CHECK(log->pending().value() == 0);
  REQUIRE(log->resume_session(guid(60), 2));
  CHECK(log->session().value()->highest_ordinal == 0);
  REQUIRE(log->close_session());
}

TEST_CASE("a second agent on the same change log is refused") {
  support::TemporaryDirectory directory;
  auto first = ChangeLog::open(os::real_file_system(), directory / "change.log");
  REQUIRE(first);
  auto second = ChangeLog::open(os::real_file_system(), directory / "change.log");
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ErrorCode::busy);
}

TEST_CASE("the queue is bounded") {
  support::TemporaryDirectory directory;
  auto log =
      ChangeLog::open(os::real_file_system(), directory / "change.log", {}, {.batches = 2, .bytes = 5000});
  REQUIRE(log);
  REQUIRE((*log)->begin_session(facts_of(1)));
  CHECK((*log)->append(batch_of(4999)).error().code == ErrorCode::full);
  CHECK((*log)->append(batch_of(1)));
  CHECK((*log)->append(batch_of(2)));
  CHECK((*log)->append(batch_of(3)).error().code == ErrorCode::full);
  CHECK((**(*log)->session()).highest_ordinal == 2);  // a refused batch leaves no gap
}

// The steps of a session; stops at the first failure and says how many steps succeeded.
unsigned run_session(os::FileSystem& files) {
  unsigned done = 0;
  auto log = ChangeLog::open(files, "state/change.log");
  if (!log) return done;
  auto step = [&](bool success) { return success ? (++done, true) : false; };
  if (!step((*log)->begin_session(facts_of(1)).has_value())) return done;
  if (!step((*log)->append(batch_of(1)).has_value())) return done;
  if (!step((*log)->append(batch_of(4000)).has_value())) return done;
  if (!step((*log)->acknowledge(1).has_value())) return done;
  if (!step((*log)->note_cut(guid(99)).has_value())) return done;
  if (!step((*log)->resume_session(guid(60), 1).has_value())) return done;
  if (!step((*log)->append(batch_of(3)).has_value())) return done;
  if (!step((*log)->acknowledge(2).has_value())) return done;
  if (!step((*log)->append(batch_of(5)).has_value())) return done;
  if (!step((*log)->withdraw().has_value())) return done;
  step((*log)->close_session().has_value());
  return done;
}

// What the log must say after that many steps.
struct State {
  bool session = false;
  std::uint64_t highest = 0;
  std::vector<std::uint64_t> sizes;  // of the waiting batches' files
  Guid incarnation, last_cut;
  bool open = true;

  bool operator==(const State&) const = default;
};

State state_after(unsigned steps) {
  State state;
  if (steps >= 1) state = {true, 0, {}, facts_of(1).incarnation, {}, true};
  if (steps >= 2) state = {true, 1, {1}, state.incarnation, guid(101), true};
  if (steps >= 3) state = {true, 2, {1, 4000}, state.incarnation, batch_of(4000).batch.snapshot, true};
  if (steps >= 4) state.sizes = {4000};
  if (steps >= 5) state.last_cut = guid(99);
  if (steps >= 6) state.incarnation = guid(60), state.highest = 1;
  if (steps >= 7) state.highest = 2, state.sizes = {4000, 3}, state.last_cut = guid(103);
  if (steps >= 8) state.sizes = {};
  if (steps >= 9) state.highest = 3, state.sizes = {5}, state.last_cut = guid(105);
  if (steps >= 10) state.highest = 2, state.sizes = {}, state.last_cut = guid(103);
  if (steps >= 11) state.open = false;
  return state;
}

State read_state(os::FileSystem& files) {
  auto log = ChangeLog::open(files, "state/change.log");
  REQUIRE_MESSAGE(log, log.error().to_string());
  State state;
  auto facts = (*log)->session();
  REQUIRE(facts);
  if (!*facts) return state;
  state = {true, (*facts)->highest_ordinal, {}, (*facts)->incarnation, (*facts)->last_cut, (*facts)->open};
  for (;;) {
    auto next = (*log)->next();
    REQUIRE_MESSAGE(next, next.error().to_string());
    if (!*next) break;
    CHECK((*next)->batch.incarnation == state.incarnation);
    state.sizes.push_back(std::get<profile::Put>((*next)->batch.records.at(0)).entry.size_bytes);
    REQUIRE((*log)->acknowledge((*next)->batch.ordinal));
  }
  return state;
}

TEST_CASE(
    "after a power loss at any operation each step happened wholly or not at all, and what succeeded is "
    "there") {
  CrashFileSystem whole;
  REQUIRE(whole.make_directories("state"));
  REQUIRE(run_session(whole) == 11);
  auto random = support::seeded_random();
  for (std::uint64_t point = 0; point <= whole.operations(); ++point) {
    CrashFileSystem files;
    REQUIRE(files.make_directories("state"));
    files.crash_after(point);
    auto done = run_session(files);
    files.power_loss(random());
    auto state = read_state(files);
    INFO("crash at operation ", point, ", ", done, " steps succeeded");
    CHECK((state == state_after(done) || state == state_after(done + 1)));
  }
}

TEST_CASE("a damaged change log is reported, never read wrongly or crashed on") {
  CrashFileSystem files;
  REQUIRE(files.make_directories("state"));
  {
    auto log = ChangeLog::open(files, "state/change.log");
    REQUIRE(log);
    REQUIRE((*log)->begin_session(facts_of(1)));
    for (unsigned i = 1; i <= 20; ++i) REQUIRE((*log)->append(batch_of(i * 37)));
  }
  auto original = os::read_file(files, "state/change.log", 1 << 24);
  REQUIRE(original);
  auto random = support::seeded_random();
  for (int round = 0; round < 300; ++round) {
    auto damaged = *original;
    if (round % 3 == 0) damaged.resize(random() % damaged.size());
    for (int flip = 0; flip < 4 && !damaged.empty(); ++flip)
      damaged[random() % damaged.size()] ^= static_cast<std::byte>(1u << (random() % 8));
    CrashFileSystem again;
    REQUIRE(again.make_directories("state"));
    REQUIRE(os::write_file_durably(again, "state/change.log", damaged));
    auto log = ChangeLog::open(again, "state/change.log");
    if (!log) continue;
    (void)(*log)->session();
    for (int i = 0; i < 30; ++i) {
      auto next = (*log)->next();
      if (!next || !*next || !(*log)->acknowledge((*next)->batch.ordinal)) break;
      CHECK(profile::check_batch((*next)->batch));
    }
  }
}

}  // namespace
}  // namespace roamstead::changelog
