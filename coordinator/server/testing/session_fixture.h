// A session table over a repository in memory, with a clock and a policy that the test sets.
#pragma once

#include <doctest/doctest.h>

#include "coordinator/server/session_table.h"
#include "coordinator/server/testing/memory_repository.h"
#include "coordinator/server/testing/sample_batch.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::server {

// Two desktops to which "alice" is assigned, and a clock that the test moves.
struct SessionFixture {
  support::TemporaryDirectory folder;
  MemoryRepository repository;
  repository::ProfileInfo alice =
      repository.add_profile("alice", {{"a.txt", "first"}, {"d/b.txt", "second"}});
  std::unique_ptr<StateStore> store = StateStore::open(folder.path()).value();
  Session::Clock::time_point now = Session::Clock::now();
  SessionPolicy policy = SessionPolicy::takeover;
  std::chrono::milliseconds hand_over_wait{50};
  std::unique_ptr<SessionTable> table;

  explicit SessionFixture(SessionPolicy at_first = SessionPolicy::takeover) : policy(at_first) {
    for (const char* desktop : {"desk-a", "desk-b"}) REQUIRE(store->assign({desktop, alice.id, "alice"}));
    restart();
  }
  void restart() {
    table.reset();
    store = StateStore::open(folder.path()).value();
    SessionOptions options;
    options.hand_over_wait = hand_over_wait;
    options.now = [this] { return now; };
    options.working_set_directory = folder / "working-sets";
    options.policy_of = [this](const std::string&) { return policy; };
    table = SessionTable::create(*store, repository, options, {}).value();
  }
  Result<wire::OpenReply> open(const std::string& desktop, std::optional<wire::ResumeInfo> resume = {}) {
    return table->open(desktop, {"alice", "Users/alice", resume});
  }
  Result<wire::CommitReply> commit(const std::string& desktop, const wire::OpenReply& session,
                                   std::uint64_t ordinal, const std::map<std::string, std::string>& files,
                                   bool quiesced = true) {
    SampleBatch sample(session.incarnation, ordinal, files);
    sample.batch.quiesced = quiesced;
    return table->commit(desktop, session.session_secret, sample.batch, sample);
  }
  Result<std::string> read(const std::string& desktop, const wire::OpenReply& session,
                           const std::string& path) {
    auto bytes = table->read(desktop, {session.session_secret, path_of(path), "", 0, 1000});
    if (!bytes) return fail(bytes.error());
    return std::string(as_text(*bytes));
  }
  std::uint64_t head() { return repository.find_profile("alice")->head; }
};

template <class T>
inline ErrorCode code_of(const Result<T>& result) {
  REQUIRE(!result);
  return result.error().code;
}

}  // namespace roamstead::server
