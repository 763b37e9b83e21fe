// The coordinator as systemd sees it: sockets passed in, messages sent out, signals.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <future>
#include <thread>

#include "coordinator/server/testing/sample_batch.h"
#include "coordinator/server/testing/site.h"

namespace roamstead::server {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// $NOTIFY_SOCKET as a service manager has it.
class NotifySocket {
 public:
  explicit NotifySocket(const std::string& path) : path_(path) {
    descriptor_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof address.sun_path);
    path.copy(address.sun_path, path.size());
    REQUIRE(::bind(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ~NotifySocket() { ::close(descriptor_); }
  const std::string& path() const { return path_; }

  // The next message; "" when none comes in time.
  std::string next(std::chrono::milliseconds limit) {
    pollfd wanted{descriptor_, POLLIN, 0};
    if (::poll(&wanted, 1, static_cast<int>(limit.count())) != 1) return "";
    std::string message(4096, 0);
    auto count = ::recv(descriptor_, message.data(), message.size(), 0);
    message.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    return message;
  }
  // The next one that holds `text`; "" when none comes in time.
  std::string wait_for(const std::string& text, std::chrono::milliseconds limit = 5s) {
    auto until = Clock::now() + limit;
    while (Clock::now() < until) {
      auto message = next(std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()));
      if (message.find(text) != std::string::npos) return message;
    }
    return "";
  }

 private:
  std::string path_;
  int descriptor_ = -1;
};

// A listening socket of the test's own, as a .socket unit has one.
class ListeningSocket {
 public:
  ListeningSocket() {
    descriptor_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(descriptor_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(descriptor_, 64) == 0);
    REQUIRE(::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~ListeningSocket() { ::close(descriptor_); }
  int descriptor() const { return descriptor_; }
  const std::string& address() const { return address_; }

 private:
  int descriptor_ = -1;
  std::string address_;
};

// A site with a configuration file.
struct ConfiguredSite : Site {
  std::string file = folder / "etc/coordinator.toml";
  NotifySocket notify{folder / "notify"};

  ConfiguredSite() { write(""); }
  void write(const std::string& more) {
    std::filesystem::create_directories(folder / "etc");
    std::ofstream(file) << "[repository]\ndirectory = \"" << (folder / "repo") << "\"\nstate = \""
                        << (folder / "state") << "\"\n"
                        << more;
  }
  support::CoordinatorProcessOptions options(std::map<std::string, std::string> environment = {}) {
    environment["NOTIFY_SOCKET"] = notify.path();
    return {{"--config", file, "--set", "listen.address=127.0.0.1:0"}, std::move(environment)};
  }
};

TEST_CASE("systemd is told that the coordinator listens, that it ends, and nothing it cannot read") {
  ConfiguredSite site;
  Process process(site.options());
  auto ready = site.notify.wait_for("READY=1");
  CHECK(ready.find("STATUS=listening on " + process.address()) != std::string::npos);
  CHECK(process.terminate() == 0);
  CHECK(site.notify.wait_for("STOPPING=1") != "");
}

TEST_CASE("the watchdog is fed while commits get their turn, and starves while they do not") {
  ConfiguredSite site;
  site.write("[limits]\ncommit_threads = 1\n");
  Process process(
      site.options({{"WATCHDOG_USEC", "300000"}, {"ROAMSTEAD_FAULT", "server.before_commit#2=delay:1200"}}));
  auto link = site.link("desk-a", process.address());
  auto session = link->open({"alice", "", {}}).value();
  SampleBatch one(session.incarnation, 1, {{"x", "1"}});
  REQUIRE(link->commit(session.session_secret, one.batch, one));
  REQUIRE(site.notify.wait_for("READY=1") != "");
  for (int i = 0; i < 3; ++i) CHECK(site.notify.wait_for("WATCHDOG=1", 1s) != "");
  SampleBatch two(session.incarnation, 2, {{"x", "2"}});
  auto reply =
      std::async(std::launch::async, [&] { return link->commit(session.session_secret, two.batch, two); });
  // The longest silence while the one thread for commits hangs.
  Clock::duration longest{};
  auto last = Clock::now();
  while (reply.wait_for(0s) != std::future_status::ready) {
    if (site.notify.next(20ms) != "WATCHDOG=1") continue;
    longest = std::max(longest, Clock::now() - last);
    last = Clock::now();
  }
  longest = std::max(longest, Clock::now() - last);
  CHECK(reply.get());
  CHECK(longest > 800ms);
  CHECK(site.notify.wait_for("WATCHDOG=1", 2s) != "");
}

TEST_CASE("connections made while nobody accepts are served by the coordinator that comes next") {
  ConfiguredSite site;
  ListeningSocket listener;
  auto options = site.options();
  options.listener = listener.descriptor();
  auto first = std::make_unique<Process>(options);
  CHECK(first->address() == listener.address());
  auto link = site.link("desk-a", listener.address());
  auto session = link->open({"alice", "", {}}).value();
  CHECK(first->terminate() == 0);
  // Nobody accepts now, and still no attempt is refused.
  auto late = site.link("desk-b", listener.address());
  auto renewed = std::async(std::launch::async, [&] { return link->renew(session.session_secret); });
  auto refused = std::async(std::launch::async, [&] { return late->open({"nobody", "", {}}); });
  int raw = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(listener.address().substr(10))));
  CHECK(::connect(raw, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  ::close(raw);
  Process second(options);
  CHECK(renewed.get());
  CHECK(refused.get().error().code == ErrorCode::denied);  // an answer of the coordinator's
  CHECK(second.terminate() == 0);
}

TEST_CASE("sockets that are not what they should be are refused by name") {
  ConfiguredSite site;
  auto options = site.options();
  options.wait_until_ready = false;
  options.listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Process process(options);
  CHECK(process.wait() == 1);
  ::close(options.listener);
}

TEST_CASE("SIGTERM during a commit: it is finished and answered before the coordinator ends") {
  ConfiguredSite site;
  Process process(site.options({{"ROAMSTEAD_FAULT", "commit.before_sync#2=delay:700"}}));
  auto link = site.link("desk-a", process.address());
  auto session = link->open({"alice", "", {}}).value();
  SampleBatch one(session.incarnation, 1, {{"x", "1"}});
  REQUIRE(link->commit(session.session_secret, one.batch, one));
  SampleBatch two(session.incarnation, 2, {{"x", "2"}});
  auto reply =
      std::async(std::launch::async, [&] { return link->commit(session.session_secret, two.batch, two); });
  std::this_thread::sleep_for(300ms);
  CHECK(process.terminate() == 0);
  // Nobody listens any more: the answer came before.
  REQUIRE(reply.wait_for(1s) == std::future_status::ready);
  auto answered = reply.get();
  REQUIRE_MESSAGE(answered.has_value(), answered.error().to_string());
  CHECK(answered->version == 3);
  CHECK(site.versions().size() == 3);
}

TEST_CASE(
    "SIGTERM while the storage hangs: the coordinator ends all the same, and nothing acknowledged is lost") {
  ConfiguredSite site;
  site.write("[service]\ndrain_timeout = \"200ms\"\n");
  auto process =
      std::make_unique<Process>(site.options({{"ROAMSTEAD_FAULT", "commit.before_sync#2=delay:60000"}}));
  auto link = site.link("desk-a", process->address());
  auto session = link->open({"alice", "", {}}).value();
  SampleBatch one(session.incarnation, 1, {{"x", "1"}});
  REQUIRE(link->commit(session.session_secret, one.batch, one));
  SampleBatch two(session.incarnation, 2, {{"x", "2"}});
  auto reply =
      std::async(std::launch::async, [&] { return link->commit(session.session_secret, two.batch, two); });
  std::this_thread::sleep_for(200ms);
  auto began = Clock::now();
  CHECK(process->terminate() == 1);
  CHECK(Clock::now() - began < 5s);
  auto options = site.options();
  options.arguments.back() = "listen.address=" + process->address();
  Process next(options);
  auto answered = reply.get();
  REQUIRE_MESSAGE(answered.has_value(), answered.error().to_string());
  CHECK(!answered->forked);
  CHECK(next.terminate() == 0);
  CHECK(site.versions().size() == 3);
}

TEST_CASE("SIGHUP takes over what can be changed, says what cannot, and keeps every session") {
  ConfiguredSite site;
  site.write("[limits]\nconnections_per_desktop = 1\n");
  Process process(site.options());
  REQUIRE(site.notify.wait_for("READY=1") != "");
  auto link = site.link("desk-a", process.address());
  auto session = link->open({"alice", "", {}}).value();
  auto received = link->bytes_received();
  auto reload = [&] {
    ::kill(process.pid(), SIGHUP);
    CHECK(site.notify.wait_for("RELOADING=1") != "");
    return site.notify.wait_for("READY=1");
  };
  auto second_link_works = [&] {
    auto options = site.identities.at("desk-a");
    options.address = process.address();
    options.call_timeout = 300ms;
    return wire::TlsLink::create(options).value()->renew(session.session_secret).has_value();
  };
  CHECK(!second_link_works());
  SUBCASE("good") {
    site.write("[limits]\nconnections_per_desktop = 2\ncommit_threads = 3\n[log]\nlevel = \"error\"\n");
    CHECK(reload().find("at the next start: limits.commit_threads") != std::string::npos);
    CHECK(second_link_works());
    site.write("[limits]\nconnections_per_desktop = 2\n");
    CHECK(reload().find("at the next start") == std::string::npos);
  }
  SUBCASE("with mistakes") {
    site.write("[limits]\nconnections_per_desktop = 2\ncommit_treads = 3\n");
    CHECK(reload().find("mistakes") != std::string::npos);
    CHECK(!second_link_works());
  }
  CHECK(link->renew(session.session_secret));
  CHECK(link->bytes_received() - received < 1000);  // no second handshake
  CHECK(process.terminate() == 0);
}

TEST_CASE("a service manager that does not read what it is told stops nobody") {
  ConfiguredSite site;
  Process process(site.options({{"WATCHDOG_USEC", "10000"}}));
  auto link = site.link("desk-a", process.address());
  auto session = link->open({"alice", "", {}}).value();
  std::this_thread::sleep_for(500ms);  // some hundred messages that nobody takes
  CHECK(link->renew(session.session_secret));
  auto began = Clock::now();
  CHECK(process.terminate() == 0);
  CHECK(Clock::now() - began < 5s);
}

TEST_CASE("restarts under load: every batch is saved once and in its order") {
  ConfiguredSite site;
  ListeningSocket listener;
  auto options = site.options();
  options.environment.clear();
  options.listener = listener.descriptor();
  auto process = std::make_unique<Process>(options);
  auto link = site.link("desk-a", listener.address());
  auto session = link->open({"alice", "", {}}).value();
  std::atomic<bool> enough{false};
  std::atomic<std::uint64_t> saved{0};
  std::string wrong;
  std::thread desktop([&] {
    while (!enough && wrong.empty()) {
      auto ordinal = saved + 1;
      SampleBatch batch(session.incarnation, ordinal, {{"counter", std::to_string(ordinal)}});
      auto reply = link->commit(session.session_secret, batch.batch, batch);
      if (!reply)
        wrong = reply.error().to_string();
      else if (reply->forked || reply->version != ordinal + 1)
        wrong = "batch " + std::to_string(ordinal) + " became version " + std::to_string(reply->version);
      else
        saved = ordinal;
    }
  });
  for (int i = 0; i < 3; ++i) {
    auto before = saved.load();
    for (int wait = 0; wait < 100 && saved < before + 5; ++wait) std::this_thread::sleep_for(50ms);
    CHECK(process->terminate() == 0);
    process = std::make_unique<Process>(options);
  }
  enough = true;
  desktop.join();
  CHECK_MESSAGE(wrong.empty(), wrong);
  CHECK(process->terminate() == 0);
  CHECK(saved >= 15);
  CHECK(site.versions().size() == saved + 1);
}

TEST_CASE("the authority's key may lie among systemd's credentials, and no second authority is ever made") {
  ConfiguredSite site;
  auto credentials = site.folder / "credentials";
  std::filesystem::rename(site.folder / "state/ca", credentials);
  auto options = site.options({{"CREDENTIALS_DIRECTORY", credentials}});
  options.arguments.insert(options.arguments.end(), {"--set", "tls.authority=%d"});
  {
    Process process(options);
    CHECK(site.link("desk-a", process.address())->open({"alice", "", {}}));
    CHECK(process.terminate() == 0);
  }
  auto list = [&] {
    auto repository = repository::Repository::open(os::real_file_system(),
                                                   {site.folder / "repo", site.folder / "state", false});
    return execute_alone(**repository, site.folder / "state", {{"command", "desktop.list"}}, {});
  };
  CHECK(list());
  std::filesystem::rename(credentials, site.folder / "gone");
  auto refused = list();
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::not_found);
  options.wait_until_ready = false;
  CHECK(Process(options).wait() == 1);
  CHECK(!std::filesystem::exists(credentials));
  CHECK(!std::filesystem::exists(site.folder / "state/ca"));
}

TEST_CASE("a configuration is checked without opening anything") {
  ConfiguredSite site;
  auto check = [&](std::vector<std::string> arguments) {
    Process process({std::move(arguments), {}, -1, false});
    return process.wait();
  };
  CHECK(check({"--config", site.file, "--check-config"}) == 0);
  CHECK(check({"--config", site.file, "--check-config", "--set", "sessions.lease=1s"}) == 1);
  CHECK(check({"--config", site.file, "--check-config", "--set", "nonsense"}) == 1);
  CHECK(check({"--config", site.folder / "missing.toml", "--check-config"}) == 1);
  site.write("[sessions]\nleese = 1\n");
  CHECK(check({"--config", site.file, "--check-config"}) == 1);
  CHECK(check({"--repo", site.folder / "repo", "--check-config"}) == 0);
}

}  // namespace
}  // namespace roamstead::server
