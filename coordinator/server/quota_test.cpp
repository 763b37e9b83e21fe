// What a profile may hold: refused beyond it, kept by the desktop, taken as soon as it fits.
#include <thread>

#include "common/base/event.h"
#include "coordinator/server/testing/session_fixture.h"
#include "tests/support/seed.h"

namespace roamstead::server {
namespace {

// "alice" holds 11 bytes: a.txt and d/b.txt.
struct QuotaFixture : SessionFixture {
  std::atomic<std::uint64_t> quota{0};

  explicit QuotaFixture(SessionPolicy at_first = SessionPolicy::takeover) : SessionFixture(at_first) {
    begin();
  }
  void begin() {
    table.reset();
    store = StateStore::open(folder.path()).value();
    SessionOptions options;
    options.hand_over_wait = hand_over_wait;
    options.now = [this] { return now; };
    options.policy_of = [this](const std::string&) { return policy; };
    options.quota_of = [this](const std::string&, const repository::ProfileId&) { return quota.load(); };
    options.on_storage_failure = [this](const Error&) { ++storage_failures; };
    table = SessionTable::create(*store, repository, options, {}).value();
  }
  std::uint64_t held() { return repository.logical_bytes(alice.id, head()).value(); }
  wire::BatchBegin announced(const wire::OpenReply& session, std::uint64_t ordinal, std::uint64_t bytes) {
    return {session.session_secret, session.incarnation, ordinal, 100, bytes};
  }
  Result<wire::CommitReply> send(const std::string& desktop, const wire::OpenReply& session,
                                 std::uint64_t ordinal, const std::map<std::string, std::string>& files,
                                 const std::vector<std::string>& deleted = {}) {
    SampleBatch sample(session.incarnation, ordinal, files);
    std::uint64_t bytes = 0;
    for (const auto& [name, content] : files) bytes += content.size();
    for (const auto& name : deleted) sample.batch.records.push_back(profile::Delete{path_of(name)});
    auto begin = announced(session, ordinal, bytes);
    return table->commit(desktop, session.session_secret, sample.batch, sample, &begin);
  }
  int storage_failures = 0;
};

std::string of(std::size_t bytes) { return std::string(bytes, 'x'); }

void check_refused(const Result<wire::CommitReply>& reply) {
  CHECK(code_of(reply) == ErrorCode::full);
  CHECK(event_in(reply.error().to_string()) == id_of(Event::over_quota));
}

TEST_CASE(
    "a batch beyond the quota is refused, unread when it comes again, and taken when the quota is raised") {
  QuotaFixture f;
  f.quota = 100;
  auto a = f.open("desk-a").value();
  REQUIRE(f.send("desk-a", a, 1, {{"x", of(50)}}));
  auto over = f.send("desk-a", a, 2, {{"y", of(40)}});
  check_refused(over);
  CHECK(over.error().message.find("alice") != std::string::npos);
  CHECK(f.storage_failures == 0);  // nothing is wrong with the storage
  CHECK(f.head() == 2);
  CHECK(f.table->counts().over_quota == 1);
  CHECK(f.table->find("alice")->refused_bytes == 40);
  CHECK(f.table->find("alice")->quota_bytes == 100);
  CHECK(code_of(f.table->find_committed("desk-a", f.announced(a, 2, 40))) == ErrorCode::full);
  // Another batch of that number, cut anew, is looked at.
  CHECK(!f.table->find_committed("desk-a", f.announced(a, 2, 39)).value());
  check_refused(f.send("desk-a", a, 2, {{"y", of(40)}}));
  f.quota = 101;
  CHECK(!f.table->find_committed("desk-a", f.announced(a, 2, 40)).value());
  CHECK(f.send("desk-a", a, 2, {{"y", of(40)}})->version == 3);
  CHECK(f.held() == 101);
  CHECK(f.table->counts().over_quota == 0);
  CHECK(f.table->find("alice")->refused_bytes == 0);
}

TEST_CASE("what makes a profile smaller is taken however far it is over its quota") {
  QuotaFixture f;
  auto a = f.open("desk-a").value();
  REQUIRE(f.send("desk-a", a, 1, {{"x", of(500)}, {"y", of(300)}}));
  f.quota = 100;
  check_refused(f.send("desk-a", a, 2, {{"z", of(1)}}));
  SUBCASE("deleted") { REQUIRE(f.send("desk-a", a, 2, {}, {"x"})); }
  SUBCASE("cut shorter, though more is put beside it") {
    REQUIRE(f.send("desk-a", a, 2, {{"x", of(10)}, {"z", of(200)}}));
  }
  SUBCASE("changed in place") { REQUIRE(f.send("desk-a", a, 2, {{"x", std::string(500, 'y')}})); }
  SUBCASE("the changes with the deletions since, under the number that was refused") {
    REQUIRE(f.send("desk-a", a, 2, {{"z", of(1)}}, {"y"}));
  }
  CHECK(f.held() > 100);
  check_refused(f.send("desk-a", a, 3, {{"more", of(1)}}));
}

TEST_CASE("sessions that save side by side share the quota") {
  QuotaFixture f(SessionPolicy::concurrent);
  f.quota = 100;
  auto a = f.open("desk-a").value();
  auto b = f.open("desk-b").value();
  REQUIRE(f.send("desk-a", a, 1, {{"from-a", of(60)}}));
  check_refused(f.send("desk-b", b, 1, {{"from-b", of(60)}}));  // 71 are held by what b does not even see
  CHECK(!f.send("desk-b", b, 1, {{"from-b", of(29)}})->forked);
  CHECK(f.held() == 100);
  REQUIRE(f.send("desk-a", a, 2, {{"from-a", of(10)}}));
  CHECK(!f.send("desk-b", b, 2, {{"from-b", of(79)}})->forked);
  CHECK(f.held() == 100);
}

TEST_CASE("however many commit at once, the head never exceeds the quota") {
  QuotaFixture f(SessionPolicy::concurrent);
  constexpr int kDesktops = 6, kBatches = 25;
  f.quota = 400;
  std::vector<std::string> desktops;
  std::vector<wire::OpenReply> sessions;
  for (int i = 0; i < kDesktops; ++i) {
    desktops.push_back("desk-" + std::to_string(i));
    REQUIRE(f.store->assign({desktops.back(), f.alice.id, "alice"}));
    sessions.push_back(f.open(desktops.back()).value());
  }
  auto seed = support::seeded_random()();
  std::atomic<int> refused{0}, taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kDesktops; ++i)
    threads.emplace_back([&, i] {
      std::mt19937_64 random(seed + static_cast<unsigned>(i));
      std::uint64_t ordinal = 1;
      for (int n = 0; n < kBatches; ++n) {
        // A file of one's own, so that no merge finds a conflict; once one that is too large whatever others
        // have.
        const auto bytes = n == kBatches / 2 ? 401 : random() % 200;
        auto done = f.send(desktops[i], sessions[i], ordinal, {{desktops[i], of(bytes)}});
        if (done) ++ordinal;
        ++(done ? taken : refused);
      }
    });
  for (auto& thread : threads) thread.join();
  const auto versions = f.repository.versions(f.alice.id).value();
  for (const auto& version : versions)
    if (version.on_head_line) CHECK(f.repository.logical_bytes(f.alice.id, version.number).value() <= 400);
  CHECK(refused >= kDesktops);
  CHECK(taken > kDesktops);
}

TEST_CASE("a fork has the quota of its profile; what is saved from a dead desktop's disk has none") {
  QuotaFixture f;
  f.quota = 50;
  auto a = f.open("desk-a").value();
  f.now += std::chrono::seconds(31);
  REQUIRE(f.open("desk-b"));
  check_refused(f.send("desk-a", a, 1, {{"x", of(40)}}));
  CHECK(f.send("desk-a", a, 1, {{"x", of(39)}})->forked);
  SampleBatch rescued(Guid(), 0, {{"large", of(5000)}});
  auto kept = f.table->bury(a.session, {}, rescued.batch, rescued).value();
  REQUIRE(kept);
  CHECK(kept->forked);
}

TEST_CASE("a refusal leaves nothing behind: after a restart the batch is judged anew") {
  QuotaFixture f;
  f.quota = 50;
  auto a = f.open("desk-a").value();
  check_refused(f.send("desk-a", a, 1, {{"x", of(40)}}));
  f.begin();
  CHECK(f.head() == 1);
  CHECK(!f.table->find_committed("desk-a", f.announced(a, 1, 40)).value());
  check_refused(f.send("desk-a", a, 1, {{"x", of(40)}}));
  f.quota = 0;
  CHECK(f.send("desk-a", a, 1, {{"x", of(40)}})->version == 2);
}

TEST_CASE("a profile's own quota comes before its pool's, and both outlive a restart") {
  SessionFixture f;
  CHECK(!f.store->quota(f.alice.id).value());
  REQUIRE(f.store->set_quota(f.alice.id, 7));
  REQUIRE(f.store->set_pool({"default", "takeover", 9, 0}));
  f.restart();
  CHECK(f.store->quota(f.alice.id).value() == 7);
  CHECK(f.store->pool_of("desk-a")->quota_bytes == 9);
  REQUIRE(f.store->set_quota(f.alice.id, 0));  // no limit, whatever the pool says
  CHECK(f.store->quota(f.alice.id).value() == 0);
  REQUIRE(f.store->set_quota(f.alice.id, std::nullopt));
  CHECK(!f.store->quota(f.alice.id).value());
}

}  // namespace
}  // namespace roamstead::server
