#include "coordinator/server/session_table.h"

#include <doctest/doctest.h>

#include <future>
#include <set>
#include <thread>

#include "common/base/file_time.h"
#include "coordinator/server/testing/session_fixture.h"
#include "tests/support/must.h"

namespace roamstead::server {
namespace {

using Fixture = SessionFixture;

TEST_CASE("a desktop opens only what is assigned to it, and learns nothing about the rest") {
  Fixture f;
  f.repository.add_profile("bob", {});
  auto bob = f.table->open("desk-a", {"bob", "", {}});
  auto nobody = f.table->open("desk-a", {"nob", "", {}});
  CHECK(code_of(bob) == ErrorCode::denied);
  CHECK(code_of(nobody) == ErrorCode::denied);
  CHECK(bob.error().to_string().size() == nobody.error().to_string().size());
  CHECK(f.open("desk-a"));
  REQUIRE(f.store->unassign("desk-b", f.alice.id));
  CHECK(code_of(f.open("desk-b")) == ErrorCode::denied);
}

TEST_CASE("another desktop cannot use a session's secret, nor can a guess") {
  Fixture f;
  auto a = f.open("desk-a").value();
  CHECK(f.read("desk-a", a, "a.txt").value() == "first");
  CHECK(code_of(f.read("desk-b", a, "a.txt")) == ErrorCode::denied);
  CHECK(code_of(f.commit("desk-b", a, 1, {{"x", "y"}})) == ErrorCode::denied);
  CHECK(code_of(f.table->renew("desk-b", a.session_secret)) == ErrorCode::denied);
  CHECK(code_of(f.table->close("desk-b", a.session_secret)) == ErrorCode::denied);
  auto guess = a;
  guess.session_secret.bytes[15] ^= std::byte{1};
  CHECK(code_of(f.read("desk-a", guess, "a.txt")) == ErrorCode::denied);
  guess.session_secret = a.session;  // the public id is no secret
  CHECK(code_of(f.read("desk-a", guess, "a.txt")) == ErrorCode::denied);
  CHECK(f.head() == 1);
}

TEST_CASE("a session reads its pinned version, whatever becomes of the head") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"a.txt", "changed"}, {"new.txt", "new"}}));
  CHECK(f.head() == 2);
  CHECK(f.read("desk-a", a, "a.txt").value() == "first");
  CHECK(code_of(f.read("desk-a", a, "new.txt")) == ErrorCode::not_found);
  auto part = f.table->list("desk-a", {a.session_secret, {}, ""}).value();
  CHECK(part.entries.size() == 2);
  REQUIRE(f.table->close("desk-a", a.session_secret));
  CHECK(code_of(f.read("desk-a", a, "a.txt")) == ErrorCode::denied);
  auto b = f.open("desk-b").value();
  CHECK(b.version == 2);
  CHECK(f.read("desk-b", b, "new.txt").value() == "new");
}

TEST_CASE("batches move the head one after the other; one sent again is recognised; a gap is refused") {
  Fixture f;
  auto a = f.open("desk-a").value();
  auto first = f.commit("desk-a", a, 1, {{"x", "1"}}).value();
  auto second = f.commit("desk-a", a, 2, {{"x", "2"}}).value();
  CHECK(first.version == 2);
  CHECK(second.version == 3);
  CHECK(f.commit("desk-a", a, 1, {{"x", "1"}})->version == 2);
  CHECK(f.commit("desk-a", a, 2, {{"x", "2"}})->version == 3);
  CHECK(f.head() == 3);
  CHECK(code_of(f.commit("desk-a", a, 4, {{"x", "4"}})) == ErrorCode::protocol);
  CHECK(code_of(f.commit("desk-a", a, 0, {{"x", "0"}})) == ErrorCode::protocol);
  auto known = f.table->find_committed("desk-a", {a.session_secret, a.incarnation, 2, 0, 0}).value();
  REQUIRE(known);
  CHECK(known->version == 3);
  CHECK(!f.table->find_committed("desk-a", {a.session_secret, a.incarnation, 3, 0, 0}).value());
}

TEST_CASE("what a machine that was set back sends under a number that it gave before is kept beside that") {
  Fixture f;
  auto a = f.open("desk-a").value();
  const auto commit = [&](std::uint64_t ordinal, const std::map<std::string, std::string>& files) {
    auto reply = f.commit("desk-a", a, ordinal, files);
    REQUIRE(reply);
    return *reply;
  };
  const auto text = [&](std::uint64_t version, const std::string& path) -> std::string {
    const auto tree = support::must(f.repository.tree(f.alice.id, version));
    const auto entry = tree->lookup(path_of(path));
    if (!entry) return "-";
    Bytes bytes(static_cast<std::size_t>(entry->size_bytes));
    support::must(tree->read(path_of(path), "", 0, bytes));
    return std::string(as_text(bytes));
  };
  CHECK(commit(1, {{"x", "1"}}).version == 2);
  CHECK(commit(2, {{"x", "2"}}).version == 3);
  CHECK(commit(3, {{"y", "3"}}).version == 4);
  // To after the first.
  const auto second = commit(2, {{"x", "other"}});
  CHECK(second.forked);
  CHECK(second.version == 5);
  CHECK(commit(2, {{"x", "other"}}).version == 5);
  const auto third = commit(3, {{"z", "other"}});
  CHECK(third.forked);
  CHECK(text(third.version, "x") == "other");
  CHECK(text(third.version, "y") == "-");
  CHECK(text(third.version, "z") == "other");
  // What is known is still known.
  CHECK(commit(2, {{"x", "2"}}).version == 3);
  CHECK_FALSE(commit(3, {{"y", "3"}}).forked);
  f.restart();
  // To after the first once more, and on to where it never was.
  CHECK(commit(2, {{"x", "other"}}).version == 5);
  CHECK(commit(2, {{"x", "third"}}).forked);
  CHECK(commit(3, {{"u", "third"}}).forked);
  const auto last = commit(4, {{"v", "third"}});
  CHECK(last.forked);
  CHECK(text(last.version, "x") == "third");
  CHECK(text(last.version, "u") == "third");
  CHECK(text(last.version, "z") == "-");
  CHECK(f.head() == 4);
  CHECK(text(4, "x") == "2");
  // Asked before its bytes are taken.
  wire::BatchBegin begin{a.session_secret, a.incarnation, 2, 0, 0, Guid::random()};
  CHECK_FALSE(f.table->find_committed("desk-a", begin).value());
  // It is no state to go on from.
  CHECK(code_of(f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 9})) == ErrorCode::stale);
}

TEST_CASE("an empty batch is not taken for one of the same number that has something") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {}));
  REQUIRE(f.commit("desk-a", a, 2, {}));
  CHECK(f.commit("desk-a", a, 1, {})->version == 1);
  CHECK(f.commit("desk-a", a, 2, {{"x", "other"}})->forked);
  CHECK(f.commit("desk-a", a, 1, {{"x", "another"}})->forked);
  CHECK(f.head() == 1);
}

TEST_CASE("a batch without records is remembered without a version, across a restart") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  CHECK(f.commit("desk-a", a, 2, {})->version == 2);
  f.restart();
  CHECK(f.commit("desk-a", a, 2, {})->version == 2);
  CHECK(f.commit("desk-a", a, 3, {{"x", "3"}})->version == 3);
}

TEST_CASE("while a lease lives another desktop is told who has the profile and for how long") {
  Fixture f(SessionPolicy::refuse);
  auto a = f.open("desk-a").value();
  auto refused = f.open("desk-b");
  CHECK(code_of(refused) == ErrorCode::busy);
  CHECK(refused.error().message.find("desk-a") != std::string::npos);
  f.now += std::chrono::seconds(29);
  REQUIRE(f.table->renew("desk-a", a.session_secret));
  f.now += std::chrono::seconds(29);
  CHECK(code_of(f.open("desk-b")) == ErrorCode::busy);
}

TEST_CASE("when a lease has run out the profile is handed over, and what comes late becomes a fork") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  f.now += std::chrono::seconds(31);
  auto b = f.open("desk-b").value();
  CHECK(b.epoch > a.epoch);
  CHECK(b.version == 2);
  REQUIRE(f.commit("desk-b", b, 1, {{"x", "b"}}));
  auto late = f.commit("desk-a", a, 2, {{"x", "a"}}).value();
  CHECK(late.forked);
  auto later = f.commit("desk-a", a, 3, {{"x", "a2"}}).value();
  CHECK(later.forked);
  auto versions = f.repository.versions(f.alice.id).value();
  CHECK(versions[3].parent == 2);  // what the late batch was made on
  CHECK(versions[4].parent == 4);
  CHECK(f.head() == 3);
  CHECK(code_of(f.read("desk-a", a, "a.txt")) == ErrorCode::stale);
  CHECK(code_of(f.table->renew("desk-a", a.session_secret)) == ErrorCode::stale);
  CHECK(code_of(f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 3})) == ErrorCode::stale);
}

TEST_CASE("a lease that ran out and that nobody wanted is simply renewed") {
  Fixture f;
  auto a = f.open("desk-a").value();
  f.now += std::chrono::hours(5);
  CHECK(!f.commit("desk-a", a, 1, {{"x", "1"}})->forked);
  f.policy = SessionPolicy::refuse;
  CHECK(code_of(f.open("desk-b")) == ErrorCode::busy);
}

TEST_CASE("a snapshot that nobody prepared becomes a fork, and so does what builds on it") {
  Fixture f;
  auto a = f.open("desk-a").value();
  CHECK(f.commit("desk-a", a, 1, {{"x", "1"}}, false)->forked);
  CHECK(f.commit("desk-a", a, 2, {{"x", "2"}})->forked);
  CHECK(f.head() == 1);
}

TEST_CASE("a version restored during a session makes its next batch a fork") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  REQUIRE(f.repository.restore(f.alice.id, 1, {}));
  auto reply = f.commit("desk-a", a, 2, {{"x", "2"}}).value();
  CHECK(reply.forked);
  CHECK(f.head() == 3);
}

TEST_CASE("a desktop resumes with a fresh incarnation and learns what is durable") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  REQUIRE(f.commit("desk-a", a, 2, {{"x", "2"}}));
  auto again = f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 5}).value();
  CHECK(again.committed_ordinal == 2);
  CHECK(again.session == a.session);
  CHECK(again.version == a.version);
  CHECK(again.epoch == a.epoch);
  CHECK(!(again.incarnation == a.incarnation));
  // The answer was lost: the same question again.
  auto third = f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 5}).value();
  CHECK(third.committed_ordinal == 2);
  CHECK(!f.commit("desk-a", third, 1, {{"x", "3"}})->forked);
  CHECK(f.head() == 4);
  // From the superseded incarnation: kept, but not on the head.
  auto stray = a;
  CHECK(f.commit("desk-a", stray, 3, {{"x", "stray"}})->forked);
  CHECK(f.head() == 4);
}

TEST_CASE("a reverted machine is told that it is stale, and what it still sends becomes a fork") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  REQUIRE(f.commit("desk-a", a, 2, {{"x", "2"}}));
  SUBCASE("with fewer batches than are durable") {
    CHECK(code_of(f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 1})) ==
          ErrorCode::stale);
  }
  SUBCASE("with an incarnation that a later one has committed after") {
    auto again = f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 2}).value();
    REQUIRE(f.commit("desk-a", again, 1, {{"x", "3"}}));
    CHECK(code_of(f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 9})) ==
          ErrorCode::stale);
  }
  SUBCASE("with an incarnation nobody gave it") {
    CHECK(code_of(f.open("desk-a", wire::ResumeInfo{a.session_secret, Guid::random(), 9})) ==
          ErrorCode::stale);
  }
  auto head = f.head();
  CHECK(f.commit("desk-a", a, 3, {{"x", "old"}})->forked);
  CHECK(f.head() == head);
  CHECK(f.open("desk-b"));
}

TEST_CASE("an incarnation nobody gave out is kept beside the head") {
  Fixture f;
  auto a = f.open("desk-a").value();
  auto other = a;
  other.incarnation = Guid::random();
  CHECK(f.commit("desk-a", other, 7, {{"x", "?"}})->forked);
  CHECK(f.commit("desk-a", other, 7, {{"x", "?"}})->version == 2);
  CHECK(!f.commit("desk-a", a, 1, {{"x", "1"}})->forked);
  f.restart();
  CHECK(!f.commit("desk-a", a, 2, {{"x", "2"}})->forked);
  CHECK(f.commit("desk-a", other, 8, {{"x", "?"}})->forked);
}

TEST_CASE("sessions survive a restart, with what the repository holds and the state store never heard of") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  // Durable in the repository when the coordinator died before it could answer.
  SampleBatch second(a.incarnation, 2, {{"x", "2"}});
  repository::CommitOrigin origin{repository::VersionKind::batch, "desk-a", a.session, a.epoch};
  REQUIRE(f.repository.commit(f.alice.id, 2, second.batch, second, origin));
  f.restart();
  CHECK(f.read("desk-a", a, "a.txt").value() == "first");
  CHECK(f.commit("desk-a", a, 2, {{"x", "2"}})->version == 3);
  CHECK(f.commit("desk-a", a, 3, {{"x", "3"}})->version == 4);
  f.policy = SessionPolicy::refuse;
  CHECK(code_of(f.open("desk-b")) == ErrorCode::busy);
  auto again = f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 3}).value();
  CHECK(again.committed_ordinal == 3);
}

TEST_CASE("a closed session stays closed after a restart, and its late batch is a fork") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  REQUIRE(f.table->close("desk-a", a.session_secret));
  CHECK(f.table->close("desk-a", a.session_secret));  // the answer may have been lost
  f.restart();
  CHECK(code_of(f.read("desk-a", a, "a.txt")) == ErrorCode::denied);
  CHECK(f.commit("desk-a", a, 1, {{"x", "1"}})->version == 2);
  CHECK(f.commit("desk-a", a, 2, {{"x", "2"}})->forked);
  // It does not know that it logged out: it was set back, and what it has is sent beside the head.
  CHECK(code_of(f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 2})) == ErrorCode::stale);
}

TEST_CASE("a desktop that lost its state need not wait for its own lease") {
  Fixture f;
  auto first = f.open("desk-a").value();
  auto second = f.open("desk-a").value();
  CHECK(second.epoch > first.epoch);
  CHECK(f.commit("desk-a", first, 1, {{"x", "1"}})->forked);
  CHECK(!f.commit("desk-a", second, 1, {{"x", "2"}})->forked);
}

TEST_CASE("a state directory that was lost does not make epochs start again") {
  Fixture f;
  auto a = f.open("desk-a").value();
  for (int i = 0; i < 3; ++i) a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  support::TemporaryDirectory fresh;
  auto store = StateStore::open(fresh.path()).value();
  REQUIRE(store->assign({"desk-b", f.alice.id, "alice"}));
  auto table = SessionTable::create(*store, f.repository, {}, {}).value();
  CHECK(table->open("desk-b", {"alice", "", {}})->epoch == a.epoch + 1);
}

TEST_CASE(
    "the disk of a dead desktop is saved beside the head and ends its session; without changes nothing is "
    "saved") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  auto info = f.table->find("alice").value();
  CHECK(info.row.id == a.session);
  CHECK(info.last_version == 2);
  CHECK(!info.last_snapshot.is_zero());
  SUBCASE("with changes") {
    SampleBatch found({}, 0, {{"x", "unsaved"}});
    auto reply = f.table->bury(a.session, info.last_snapshot, found.batch, found).value();
    REQUIRE(reply);
    CHECK(reply->forked);
  }
  SUBCASE("without") {
    SampleBatch found({}, 0, {});
    CHECK(!f.table->bury(a.session, info.last_snapshot, found.batch, found).value());
  }
  CHECK(f.head() == 2);
  CHECK(code_of(f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 9})) == ErrorCode::stale);
  CHECK(f.open("desk-b"));
}

TEST_CASE(
    "what is saved of a dead desktop's disk is not saved halfway, and takes no number from a desktop that "
    "lives") {
  Fixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  const auto below = f.table->find("alice").value().last_snapshot;
  CHECK(f.table->snapshots(a.session).value() == std::set<Guid>{below});
  SampleBatch found({}, 0, {{"x", "unsaved"}});
  SUBCASE("storage fails: the session goes on, and it can be tried again") {
    f.repository.before_commit = []() -> Result<void> { return fail(ErrorCode::full, "no space"); };
    CHECK(code_of(f.table->bury(a.session, below, found.batch, found)) == ErrorCode::full);
    f.repository.before_commit = nullptr;
    CHECK(f.table->find("alice").value().row.state == SessionState::active);
    REQUIRE(f.table->bury(a.session, below, found.batch, found).value());
    CHECK(f.table->find("alice").value().row.state == SessionState::superseded);
  }
  SUBCASE("the desktop lives: its next batch is another one, though of the same layer") {
    const auto buried = f.table->bury(a.session, below, found.batch, found).value();
    REQUIRE(buried);
    CHECK(f.table->snapshots(a.session).value() == std::set<Guid>{below});
    SampleBatch late(a.incarnation, 2, {{"x", "later"}});
    late.batch.snapshot = found.batch.snapshot;
    const auto reply = f.table->commit("desk-a", a.session_secret, late.batch, late).value();
    CHECK(reply.forked);
    CHECK(reply.version != buried->version);
  }
  SUBCASE("the same disk read again is the same version, another one is not") {
    const auto first = f.table->bury(a.session, below, found.batch, found).value();
    REQUIRE(first);
    CHECK(f.table->bury(a.session, below, found.batch, found).value()->version == first->version);
    auto later = found;
    later.batch.snapshot = Guid::random();
    CHECK(f.table->bury(a.session, below, later.batch, later).value()->version != first->version);
  }
  SUBCASE("compared with what the session began with, it is a fork of that") {
    const auto reply = f.table->bury(a.session, {}, found.batch, found).value();
    REQUIRE(reply);
    CHECK(f.repository.versions(f.alice.id).value().back().parent == 1);
  }
  CHECK(f.head() == 2);
}

TEST_CASE("a hand-over waits for a commit under way, and gives up in time") {
  Fixture f;
  auto a = f.open("desk-a").value();
  std::promise<void> entered, leave;
  f.repository.before_commit = [&]() -> Result<void> {
    entered.set_value();
    leave.get_future().wait();
    return {};
  };
  std::thread committing([&] { CHECK(!f.commit("desk-a", a, 1, {{"x", "1"}})->forked); });
  entered.get_future().wait();
  f.now += std::chrono::seconds(60);
  CHECK(code_of(f.open("desk-b")) == ErrorCode::busy);
  leave.set_value();
  committing.join();
  f.repository.before_commit = nullptr;
  f.now += std::chrono::seconds(60);
  CHECK(f.open("desk-b")->version == 2);
}

TEST_CASE("a failed commit leaves the session where it was") {
  Fixture f;
  auto a = f.open("desk-a").value();
  f.repository.before_commit = []() -> Result<void> { return fail(ErrorCode::full, "no space"); };
  CHECK(code_of(f.commit("desk-a", a, 1, {{"x", "1"}})) == ErrorCode::full);
  f.repository.before_commit = nullptr;
  CHECK(f.commit("desk-a", a, 1, {{"x", "1"}})->version == 2);
}

TEST_CASE("a directory of many names is listed in parts") {
  Fixture f;
  std::map<std::string, std::string> files;
  for (int i = 0; i < 1300; ++i) files["name" + std::to_string(10'000 + i)] = "";
  auto many = f.repository.add_profile("many", files);
  REQUIRE(f.store->assign({"desk-a", many.id, "many"}));
  auto session = f.table->open("desk-a", {"many", "", {}}).value();
  std::vector<std::string> names;
  for (bool more = true; more;) {
    auto part =
        f.table->list("desk-a", {session.session_secret, {}, names.empty() ? "" : names.back()}).value();
    for (auto& entry : part.entries) names.push_back(entry.name);
    more = part.more;
  }
  CHECK(names.size() == 1300);
  CHECK(std::set<std::string>(names.begin(), names.end()).size() == 1300);
}

TEST_CASE("what a batch held back is kept with a version, though nothing else is in it") {
  Fixture f;
  auto a = f.open("desk-a").value();
  SampleBatch sample(a.incarnation, 1, {});
  sample.batch.held_back.push_back({"Documents/torn.db", "torn record"});
  CHECK(f.table->commit("desk-a", a.session_secret, sample.batch, sample)->version == 2);
  auto versions = f.repository.versions(f.alice.id).value();
  REQUIRE(versions.size() == 2);
  REQUIRE(versions[1].held_back.size() == 1);
  CHECK(versions[1].held_back[0].path == "Documents/torn.db");
}

TEST_CASE(
    "a state store set back to before a resumption does not make the next batch apply to an older version") {
  Fixture f;
  support::TemporaryDirectory other;
  auto a = f.open("desk-a").value();
  REQUIRE(f.commit("desk-a", a, 1, {{"x", "1"}}));
  f.table.reset();
  f.store.reset();
  auto backup = os::read_file(os::real_file_system(), f.folder / "state.db", 64u << 20).value();
  f.restart();
  auto resumed = f.open("desk-a", wire::ResumeInfo{a.session_secret, a.incarnation, 1}).value();
  CHECK(f.commit("desk-a", resumed, 1, {{"y", "2"}})->version == 3);
  f.table.reset();
  f.store.reset();
  for (const char* rest : {"state.db-wal", "state.db-shm"})
    (void)os::real_file_system().remove(f.folder / rest);
  REQUIRE(os::write_file_durably(os::real_file_system(), f.folder / "state.db", backup));
  f.restart();
  CHECK(f.commit("desk-a", resumed, 1, {{"y", "2"}})->version == 3);  // sent again: recognised
  auto next = f.commit("desk-a", resumed, 2, {{"z", "3"}});
  REQUIRE(next);
  CHECK(next->forked);
  CHECK(f.repository.versions(f.alice.id)->back().parent == 3);
}

TEST_CASE("a coordinator that another one has taken over from says so, and its desktops keep their batches") {
  Fixture f;
  std::vector<ErrorCode> failures;
  SessionOptions options;
  options.on_storage_failure = [&](const Error& error) { failures.push_back(error.code); };
  f.table.reset();
  f.table = SessionTable::create(*f.store, f.repository, options, {}).value();
  auto a = f.open("desk-a").value();
  f.repository.before_commit = []() -> Result<void> { return fail(ErrorCode::stale, "taken over"); };
  CHECK(code_of(f.commit("desk-a", a, 1, {{"x", "1"}})) == ErrorCode::unavailable);
  CHECK(failures == std::vector<ErrorCode>{ErrorCode::stale});
  f.repository.before_commit = {};
  CHECK_FALSE(f.commit("desk-a", a, 1, {{"x", "1"}})->forked);
}

TEST_CASE("while one profile's holder commits for long, other profiles are opened and closed") {
  Fixture f;
  auto bob = f.repository.add_profile("bob", {});
  REQUIRE(f.store->assign({"desk-b", bob.id, "bob"}));
  SessionOptions options;
  options.hand_over_wait = std::chrono::seconds(20);
  f.table.reset();
  f.table = SessionTable::create(*f.store, f.repository, options, {}).value();
  auto a = f.open("desk-a").value();
  std::promise<void> committing, go_on;
  f.repository.before_commit = [&]() -> Result<void> {
    committing.set_value();
    go_on.get_future().wait();
    return {};
  };
  auto commit = std::async(std::launch::async, [&] { return f.commit("desk-a", a, 1, {{"x", "1"}}); });
  committing.get_future().wait();
  auto close = std::async(std::launch::async, [&] { return f.table->close("desk-a", a.session_secret); });
  auto again = std::async(std::launch::async, [&] { return f.open("desk-a"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // both wait for the commit now
  auto opening = std::async(std::launch::async, [&]() -> Result<void> {
    RS_TRY(auto b, f.table->open("desk-b", {"bob", "", {}}));
    return f.table->close("desk-b", b.session_secret);
  });
  bool at_once = opening.wait_for(std::chrono::seconds(5)) == std::future_status::ready;
  go_on.set_value();
  CHECK(at_once);
  CHECK(opening.get());
  CHECK(commit.get());
  CHECK(close.get());
  CHECK(again.get());
  CHECK(f.head() == 2);
}

TEST_CASE("what is long over is forgotten, and nothing else") {
  SessionFixture f;
  auto old = f.open("desk-a").value();
  REQUIRE(f.table->close("desk-a", old.session_secret));
  auto active = f.open("desk-a").value();
  const auto now = now_100ns();
  const std::uint64_t day = 24ull * 3600 * 10'000'000;
  auto token = [&](const char* id, std::uint64_t expires) {
    return Token{id, to_bytes(std::string(id)), kDefaultPool, 1, 1, now, expires, "root", 0};
  };
  REQUIRE(f.store->add_token(token("dead", now)));
  REQUIRE(f.store->add_token(token("fresh", now + 100 * day)));
  REQUIRE(f.store->add_desktop({"desk-z", "first", now, 0, kDefaultPool}));
  REQUIRE(f.store->add_certificate("desk-z", "first", {"second", "", now, now + day}));
  REQUIRE(f.store->add_certificate("desk-z", "second", {"third", "", now, now + 400 * day}));
  CHECK(f.store->prune(now + day).value() == 0);
  CHECK(f.store->tokens()->size() == 2);
  CHECK(f.store->prune(now + 32 * day).value() == 2);  // the token and the second certificate
  CHECK(f.store->tokens()->size() == 1);
  CHECK(f.store->check_desktop("desk-z", "first"));
  CHECK(!f.store->check_desktop("desk-z", "second"));
  CHECK(f.store->check_desktop("desk-z", "third"));
  CHECK(f.store->sessions(false)->size() == 2);
  CHECK(f.store->prune(now + 181 * day).value() >= 2);  // the ended session and its incarnation
  auto left = f.store->sessions(false).value();
  REQUIRE(left.size() == 1);
  CHECK(left[0].id == active.session);
  f.restart();
  CHECK(f.table->renew("desk-a", active.session_secret));
}

}  // namespace
}  // namespace roamstead::server
