// Storage that hangs under the coordinator as it is shipped, and comes back: to the same coordinator, or when
// another host has taken the repository over.
#include <doctest/doctest.h>

#include <filesystem>
#include <optional>
#include <thread>

#include "coordinator/server/testing/sample_batch.h"
#include "coordinator/server/testing/site.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/own_address.h"

namespace roamstead::server {
namespace {

using namespace std::chrono_literals;
using Reply = Result<wire::CommitReply>;

// A coordinator on the site's repository, which is made to hang; its state is on a disk of its own.
struct Sleeper {
  Site& site;
  support::FaultyStorage storage{site.folder / "plan", site.folder / "repo"};
  Process process{options()};

  support::CoordinatorProcessOptions options() {
    auto environment = storage.environment(ROAMSTEAD_FAULTY_STORAGE);
    environment["ASAN_OPTIONS"] = "verify_asan_link_order=0";  // where the coordinator is built with it
    return {{"--repo", site.folder / "repo", "--state", site.folder / "state", "--listen",
             support::own_address() + ":0"},
            std::move(environment)};
  }
  // Until somebody waits for the storage.
  void hang() { storage.plan().hangs = 1; }
  bool is_hanging() {
    for (int i = 0; i < 1000 && storage.plan().hanging == 0; ++i) std::this_thread::sleep_for(10ms);
    return storage.plan().hanging != 0;
  }
};

std::unique_ptr<wire::TlsLink> impatient_link(const Site& site, const std::string& desktop,
                                              const std::string& address) {
  auto options = site.identities.at(desktop);
  options.address = address;
  options.call_timeout = 1s;
  options.commit_timeout = 2s;
  options.connect_timeout = 1s;
  return wire::TlsLink::create(options).value();
}

TEST_CASE("while the storage hangs others are answered, and afterwards all goes on by itself") {
  Site site;
  Sleeper sleeper{site};
  auto a = site.link("desk-a", sleeper.process.address());
  auto session = a->open({"alice", "", {}}).value();
  SampleBatch first(session.incarnation, 1, {{"x", "1"}});
  REQUIRE(a->commit(session.session_secret, first.batch, first));
  sleeper.hang();
  std::optional<Reply> reply;
  SampleBatch second(session.incarnation, 2, {{"x", "2"}, {"large", std::string(300'000, 'l')}});
  std::jthread committing([&] { reply = a->commit(session.session_secret, second.batch, second); });
  CHECK(sleeper.is_hanging());
  // What needs no storage is answered: the session stays alive, and so does its lease.
  auto other = impatient_link(site, "desk-a", sleeper.process.address());
  for (int i = 0; i < 10; ++i) {
    CHECK(other->renew(session.session_secret));
    std::this_thread::sleep_for(20ms);
  }
  CHECK_FALSE(reply.has_value());
  sleeper.storage.clear();
  committing.join();
  REQUIRE_MESSAGE(reply->has_value(), reply->error().to_string());
  CHECK((*reply)->version == 3);
  CHECK(a->close(session.session_secret));
  CHECK(sleeper.process.terminate() == 0);
  CHECK(site.versions().size() == 3);
}

TEST_CASE("storage that comes back after another host has taken over: the first coordinator gives way") {
  Site site;
  Sleeper sleeper{site};
  auto a = impatient_link(site, "desk-a", sleeper.process.address());
  auto session = a->open({"alice", "", {}}).value();
  SampleBatch first(session.incarnation, 1, {{"x", "1"}});
  REQUIRE(a->commit(session.session_secret, first.batch, first));
  sleeper.hang();
  std::optional<Reply> late;
  SampleBatch second(session.incarnation, 2, {{"x", "2"}, {"large", std::string(300'000, 'l')}});
  std::jthread committing([&] { late = a->commit(session.session_secret, second.batch, second); });
  CHECK(sleeper.is_hanging());
  // The other host has the repository, and a copy of the state.
  std::filesystem::create_directories(site.folder / "state-2");
  for (const auto& file : std::filesystem::directory_iterator(site.folder / "state"))
    if (!file.is_socket())
      std::filesystem::copy(file, std::filesystem::path(site.folder / "state-2") / file.path().filename(),
                            std::filesystem::copy_options::recursive);
  Process successor({{"--repo", site.folder / "repo", "--state", site.folder / "state-2", "--listen",
                      support::own_address() + ":0"}});
  auto b = site.link("desk-a", successor.address());
  auto again = b->open({"alice", "", wire::ResumeInfo{session.session_secret, session.incarnation, 1}});
  REQUIRE_MESSAGE(again.has_value(), again.error().to_string());
  CHECK(again->committed_ordinal == 1);
  SampleBatch resent(again->incarnation, 1, {{"x", "2, to the successor"}});
  auto taken = b->commit(again->session_secret, resent.batch, resent);
  REQUIRE_MESSAGE(taken.has_value(), taken.error().to_string());
  CHECK(taken->version == 3);
  CHECK_FALSE(taken->forked);
  sleeper.storage.clear();
  committing.join();
  // It was not durable when the successor looked: it must never be acknowledged.
  CHECK_FALSE(late->has_value());
  CHECK(sleeper.process.wait() == 1);  // rather than quarrel
  CHECK(as_text(b->read(again->session_secret, path_of("a.txt"), "", 0, 100).value()) == "first");
  SampleBatch more(again->incarnation, 2, {{"y", "1"}});
  CHECK(b->commit(again->session_secret, more.batch, more)->version == 4);
  CHECK(b->close(again->session_secret));
  auto next = site.link("desk-b", successor.address());
  auto opened = next->open({"alice", "", {}}).value();
  CHECK(opened.version == 4);
  CHECK(as_text(next->read(opened.session_secret, path_of("x"), "", 0, 100).value()) ==
        "2, to the successor");
  CHECK_FALSE(next->read(opened.session_secret, path_of("large"), "", 0, 100));
  CHECK(next->close(opened.session_secret));
  CHECK(successor.terminate() == 0);
  auto repository = repository::Repository::open(os::real_file_system(),
                                                 {site.folder / "repo", site.folder / "state-2", false})
                        .value();
  CHECK(repository->versions(repository->find_profile("alice")->id)->size() == 4);
  const auto report = repository->check({}).value();
  for (const auto& problem : report.problems) FAIL_CHECK(problem);
}

}  // namespace
}  // namespace roamstead::server
