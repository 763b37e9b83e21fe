// What the coordinator says unasked, and profiles that change hands, over loopback.
#include <doctest/doctest.h>

#include <condition_variable>
#include <future>

#include "coordinator/server/testing/loopback.h"

namespace roamstead::server {
namespace {

using namespace std::chrono_literals;

// Hears pushes as an agent does: the link's thread hands them on.
class Ear {
 public:
  explicit Ear(wire::TlsLink& link) : link_(link) {
    link_.set_push_listener([this](const wire::Push& push) {
      std::lock_guard lock(mutex_);
      heard_.push_back(push);
      changed_.notify_all();
    });
  }
  ~Ear() { link_.set_push_listener(nullptr); }
  std::optional<wire::Push> wait(std::chrono::milliseconds limit = 10s) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, limit, [&] { return !heard_.empty(); })) return std::nullopt;
    auto push = heard_.front();
    heard_.erase(heard_.begin());
    return push;
  }

 private:
  wire::TlsLink& link_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<wire::Push> heard_;
};

TEST_CASE("a second log-in gets what the first desktop flushes for it") {
  Loopback loop;
  auto first = loop.link("desk-a"), second = loop.link("desk-b");
  Ear ear(*first);
  auto a = first->open({"alice", "", {}}).value();
  auto opening = std::async(std::launch::async, [&] { return second->open({"alice", "", {}}); });
  auto push = ear.wait();
  REQUIRE(push);
  CHECK(push->kind == wire::PushKind::flush);
  CHECK(push->session == a.session);
  SampleBatch batch(a.incarnation, 1, {{"x", "flushed"}});
  CHECK(!first->commit(a.session_secret, batch.batch, batch)->forked);
  REQUIRE(first->hand_over(a.session_secret));
  auto b = opening.get();
  REQUIRE_MESSAGE(b.has_value(), b.error().to_string());
  CHECK(as_text(*second->read(b->session_secret, path_of("x"), "", 0, 10)) == "flushed");
  SampleBatch late(a.incarnation, 2, {{"x", "late"}});
  CHECK(first->commit(a.session_secret, late.batch, late)->forked);
}

TEST_CASE("a flush asked for while the desktop was cut off reaches it on its next connection") {
  Loopback loop;
  Relay relay(loop.server->address());
  auto options = loop.identity("desk-a");
  options.address = relay.address();
  auto first = wire::TlsLink::create(options).value();
  auto second = loop.link("desk-b");
  Ear ear(*first);
  auto a = first->open({"alice", "", {}}).value();
  relay.cut_now();  // when the push passes
  auto opening = std::async(std::launch::async, [&] { return second->open({"alice", "", {}}); });
  while (relay.cuts() == 0) std::this_thread::sleep_for(5ms);
  REQUIRE(first->renew(a.session_secret));
  auto push = ear.wait();
  REQUIRE(push);
  CHECK(push->session == a.session);
  REQUIRE(first->hand_over(a.session_secret));
  CHECK(opening.get());
}

TEST_CASE("however many wait for other desktops to flush, the batches they wait for get through") {
  Loopback loop;
  loop.session_options.lease = 120s;
  // Room for two answers: log-ins that wait have none yet, and stand in nobody's way.
  loop.adjust_server = [](ServerOptions& options) { options.flight_bytes_per_desktop = 2u << 20; };
  loop.session_options.hand_over_wait = 60s;  // were the batches kept waiting, that would end it, with forks
  loop.restart();
  constexpr int kProfiles = 40;  // more than there are threads that commit
  std::vector<wire::OpenReply> held;
  auto first = loop.link("desk-a");
  for (int i = 0; i < kProfiles; ++i) {
    loop.add_profile("p" + std::to_string(i), {});
    held.push_back(first->open({"p" + std::to_string(i), "", {}}).value());
  }
  auto second = loop.link("desk-b");
  std::vector<std::future<Result<wire::OpenReply>>> opening;
  for (int i = 0; i < kProfiles; ++i)
    opening.push_back(std::async(std::launch::async, [&, i] {
      return second->open({"p" + std::to_string(i), "", {}});
    }));
  while (loop.sessions->find("p" + std::to_string(kProfiles - 1))->wanted_by.empty())
    std::this_thread::sleep_for(5ms);
  for (auto& session : held) {
    SampleBatch batch(session.incarnation, 1, {{"x", "flushed"}});
    CHECK(!first->commit(session.session_secret, batch.batch, batch)->forked);
    REQUIRE(first->hand_over(session.session_secret));
  }
  for (auto& each : opening) CHECK(each.get()->version == 2);
}

TEST_CASE("a coordinator can be stopped while a log-in waits, and a desktop may give up waiting") {
  Loopback loop;
  auto first = loop.link("desk-a");
  auto a = first->open({"alice", "", {}}).value();
  {
    auto options = loop.identity("desk-b");
    options.call_timeout = 200ms;
    auto impatient = wire::TlsLink::create(options).value();
    CHECK(!impatient->open({"alice", "", {}}));
  }
  auto second = loop.link("desk-b");
  auto opening = std::async(std::launch::async, [&] { return second->open({"alice", "", {}}); });
  while (loop.sessions->find("alice")->wanted_by.empty()) std::this_thread::sleep_for(5ms);
  loop.restart();  // the wish is gone with it; the link says it again
  REQUIRE(first->renew(a.session_secret));
  while (loop.sessions->find("alice")->wanted_by.empty()) std::this_thread::sleep_for(5ms);
  REQUIRE(first->hand_over(a.session_secret));
  CHECK(opening.get());
}

TEST_CASE("what a session touched first goes with the answer to the next log-in") {
  Loopback loop;
  auto first = loop.link("desk-a"), second = loop.link("desk-b");
  auto a = first->open({"alice", "", {}}).value();
  const std::vector<wire::WorkingItem> items{{wire::WorkingItem::Kind::file, "a.txt", ""}};
  REQUIRE(first->learned(a.session_secret, items));
  REQUIRE(first->close(a.session_secret));
  CHECK(second->open({"alice", "", {}})->working_set == items);
}

TEST_CASE("desktops are told of profiles to come, of new rules, and that they shall log out") {
  Loopback loop;
  auto link = loop.link("desk-a");
  std::optional<Ear> ear(std::in_place, *link);
  auto a = link->open({"alice", "", {}}).value();
  loop.sessions->announce("desk-a", "bob");
  loop.sessions->announce("desk-b", "carol");  // not connected: lost
  CHECK(ear->wait()->profile == "bob");
  loop.sessions->announce_policy("desk-a");
  CHECK(ear->wait()->kind == wire::PushKind::policy_changed);
  REQUIRE(loop.sessions->ask_to_close("alice", 5s, "maintenance"));
  auto push = ear->wait();
  CHECK(push->kind == wire::PushKind::close);
  CHECK(push->session == a.session);
  CHECK(push->text == "maintenance");
  ear.reset();
  link.reset();
  for (int i = 0; i < 500 && loop.sessions->find("alice")->connected; ++i) std::this_thread::sleep_for(10ms);
  CHECK(!loop.sessions->find("alice")->connected);
}

// What a link is told its agent is to be set to.
class SettingsEar {
 public:
  std::unique_ptr<wire::TlsLink> link(wire::TlsLinkOptions options) {
    options.on_settings = [this](const settings::SentSettings& sent) {
      std::lock_guard lock(mutex_);
      heard_.push_back(sent);
      changed_.notify_all();
    };
    return wire::TlsLink::create(options).value();
  }
  std::optional<settings::SentSettings> wait(std::chrono::milliseconds limit = 10s) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, limit, [&] { return !heard_.empty(); })) return std::nullopt;
    auto sent = heard_.front();
    heard_.erase(heard_.begin());
    return sent;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<settings::SentSettings> heard_;
};

TEST_CASE("a desktop is told its settings when it connects and when they change, and keeps them unknown") {
  std::mutex mutex;
  std::optional<settings::SentSettings> known = settings::SentSettings{{"LogLevel", "debug"}};
  const auto set = [&](std::optional<settings::SentSettings> to) {
    std::lock_guard lock(mutex);
    known = std::move(to);
  };
  Loopback loop;
  loop.adjust_server = [&](ServerOptions& options) {
    options.settings_of = [&](const std::string& desktop) {
      std::lock_guard lock(mutex);
      return desktop == "desk-a" ? known : settings::SentSettings{{"LogLevel", "error"}};
    };
  };
  loop.restart();
  SettingsEar ear, other;
  auto link = ear.link(loop.identity("desk-a")), second = other.link(loop.identity("desk-b"));
  REQUIRE(link->connect());
  REQUIRE(second->connect());
  CHECK(ear.wait().value() == settings::SentSettings{{"LogLevel", "debug"}});
  CHECK(other.wait().value() == settings::SentSettings{{"LogLevel", "error"}});
  loop.sessions->announce_settings("desk-a", {{"FillMiBPerSecond", "20"}});
  CHECK(ear.wait().value() == settings::SentSettings{{"FillMiBPerSecond", "20"}});
  set(std::nullopt);  // not known just now: nothing is said, and what was said holds
  loop.restart();
  REQUIRE(link->open({"alice", "", {}}));
  set(settings::SentSettings());
  loop.restart();
  REQUIRE(link->open({"alice", "", {}}));
  CHECK(ear.wait().value().empty());
  CHECK(!other.wait(0ms));  // the other one's are none of its business
}

TEST_CASE("settings that change while a desktop greets reach it") {
  Loopback loop;
  std::atomic<int> asked{0};
  loop.adjust_server = [&](ServerOptions& options) {
    options.settings_of = [&](const std::string& desktop) {
      // They change when what holds was read and the desktop is not greeted yet.
      if (asked++ == 0) {
        while (loop.server->connections() == 0) std::this_thread::sleep_for(1ms);
        loop.sessions->announce_settings(desktop, {{"LogLevel", "warning"}});
      }
      return settings::SentSettings{{"LogLevel", "debug"}};
    };
  };
  loop.restart();
  SettingsEar ear;
  auto link = ear.link(loop.identity("desk-a"));
  REQUIRE(link->connect());
  CHECK(ear.wait().value() == settings::SentSettings{{"LogLevel", "debug"}});
  CHECK(ear.wait().value() == settings::SentSettings{{"LogLevel", "warning"}});
}

}  // namespace
}  // namespace roamstead::server
