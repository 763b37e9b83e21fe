// The coordinator on a real repository: in this process, and as a program that is killed at its worst
// moments.
#include "coordinator/server/coordinator.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/extract/test_desktop.h"
#include "common/wire/tls_link.h"
#include "coordinator/server/commands.h"
#include "coordinator/server/testing/sample_batch.h"
#include "coordinator/server/testing/site.h"
#include "tests/support/command.h"
#include "tests/support/own_address.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

TEST_CASE("what one desktop saves the other one reads, through a real repository") {
  Site site;
  auto coordinator = site.start();
  auto a = site.link("desk-a", coordinator->address());
  auto session = a->open({"alice", "Users/alice", {}}).value();
  CHECK(as_text(a->read(session.session_secret, path_of("a.txt"), "", 0, 100).value()) == "first");
  CHECK(a->list(session.session_secret, path_of("Documents"), "")->entries.size() == 1);
  SampleBatch batch(session.incarnation, 1,
                    {{"a.txt", "changed"}, {"Documents/new.bin", std::string(700'000, 'n')}});
  auto reply = a->commit(session.session_secret, batch.batch, batch);
  REQUIRE_MESSAGE(reply.has_value(), reply.error().to_string());
  CHECK(!reply->forked);
  CHECK(as_text(a->read(session.session_secret, path_of("a.txt"), "", 0, 100).value()) == "first");
  CHECK(!a->read(session.session_secret, path_of("Documents/new.bin"), "", 0, 100));
  REQUIRE(a->close(session.session_secret));
  auto b = site.link("desk-b", coordinator->address());
  auto other = b->open({"alice", "Users/alice", {}}).value();
  CHECK(other.version == reply->version);
  CHECK(as_text(b->read(other.session_secret, path_of("a.txt"), "", 0, 100).value()) == "changed");
  CHECK(b->read(other.session_secret, path_of("Documents/new.bin"), "", 0, wire::kMaxReadBytes)->size() ==
        700'000);
}

TEST_CASE("monitoring sees what desktops do, and why the coordinator is not ready") {
  Site site;
  CoordinatorOptions options{site.folder / "repo", site.folder / "state", {}, {}};
  options.server.listen = "127.0.0.1:0";
  options.health_listen = "127.0.0.1:0";
  std::atomic<bool> broken{false};
  auto coordinator = Coordinator::start(options, Faults([&](std::string_view point) -> Result<void> {
                                          if (!broken || point != "commit.before_sync") return {};
                                          return fail(ErrorCode::io, "the disk is gone");
                                        }))
                         .value();
  const auto get = [&](const std::string& path) {
    REQUIRE(support::run(
        "/usr/bin/python3 -c 'import sys, http.client; c = http.client.HTTPConnection(sys.argv[1]); "
        "c.request(\"GET\", sys.argv[2]); r = c.getresponse(); print(r.status, r.read().decode())' " +
        coordinator->health_address() + " " + path + " > " + site.folder / "answer"));
    std::ifstream file(site.folder / "answer");
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  auto link = site.link("desk-a", coordinator->address());
  auto session = link->open({"alice", "", {}}).value();
  CHECK_FALSE(link->open({"nobody's", "", {}}));
  CHECK(link->read(session.session_secret, path_of("a.txt"), "", 0, 100));
  SampleBatch one(session.incarnation, 1, {{"x", "1"}});
  REQUIRE(link->commit(session.session_secret, one.batch, one));
  CHECK(get("/readyz").rfind("200 ", 0) == 0);
  auto metrics = get("/metrics");
  for (const char* line :
       {"roamstead_openings_total{outcome=\"opened\"} 1", "roamstead_openings_total{outcome=\"refused\"} 1",
        "roamstead_open_seconds_count{phase=\"alone\"} 2",
        "roamstead_fetch_seconds_count{kind=\"content\"} 1", "roamstead_batches_total{outcome=\"head\"} 1",
        "roamstead_commit_seconds_count 1", "roamstead_connections 1", "roamstead_sessions{lease=\"held\"} 1",
        "roamstead_sessions{lease=\"silent\"} 0", "roamstead_spooled_bytes 0"})
    CHECK_MESSAGE(metrics.find(line) != std::string::npos, line, "\n", metrics);
  CHECK(metrics.find("alice") == std::string::npos);
  CHECK(metrics.find("desk-a") == std::string::npos);
  broken = true;
  SampleBatch two(session.incarnation, 2, {{"x", "2"}});
  CHECK_FALSE(link->commit(session.session_secret, two.batch, two));
  CHECK(get("/livez").rfind("200 ", 0) == 0);
  const auto unready = get("/readyz");
  CHECK(unready.rfind("503 ", 0) == 0);
  CHECK(unready.find("a write to the repository failed") != std::string::npos);
  CHECK(get("/metrics").find("roamstead_batches_total{outcome=\"failed\"} 1") != std::string::npos);
}

TEST_CASE("a coordinator killed around a commit loses nothing acknowledged and commits nothing twice") {
  for (const char* point : {"server.before_commit", "commit.after_objects", "commit.before_sync",
                            "commit.after_packs", "commit.after_catalog", "server.before_ack"}) {
    CAPTURE(point);
    Site site;
    Process first(site, support::own_address() + ":0", std::string(point) + "#2=kill");
    auto address = first.address();
    auto link = site.link("desk-a", address);
    auto session = link->open({"alice", "", {}}).value();
    SampleBatch one(session.incarnation, 1, {{"x", "1"}});
    REQUIRE(link->commit(session.session_secret, one.batch, one));
    SampleBatch two(session.incarnation, 2, {{"x", "2"}, {"big", std::string(2'000'000, 'b')}});
    std::optional<Result<wire::CommitReply>> reply;
    std::thread sender([&] { reply = link->commit(session.session_secret, two.batch, two); });
    CHECK(first.wait() == 137);
    Process second(site, address, "");
    sender.join();
    REQUIRE_MESSAGE(reply->has_value(), reply->error().to_string());
    CHECK((*reply)->ordinal == 2);
    CHECK(!(*reply)->forked);
    SampleBatch three(session.incarnation, 3, {{"x", "3"}});
    auto last = link->commit(session.session_secret, three.batch, three);
    REQUIRE_MESSAGE(last.has_value(), last.error().to_string());
    CHECK(!last->forked);
    CHECK(as_text(link->read(session.session_secret, path_of("a.txt"), "", 0, 10).value()) == "first");
    REQUIRE(link->close(session.session_secret));
    CHECK(second.terminate() == 0);
    auto versions = site.versions();
    REQUIRE(versions.size() == 4);
    for (std::size_t i = 1; i < 4; ++i) {
      CHECK(versions[i].on_head_line);
      CHECK(versions[i].ordinal == i);
    }
  }
}

TEST_CASE("a coordinator killed before it merged what two desktops saved merges it when it is back") {
  Site site;
  site.start(std::chrono::seconds(30), {}, SessionPolicy::concurrent).reset();
  Process first(site, support::own_address() + ":0", "server.before_merge#1=kill");
  auto address = first.address();
  auto link_a = site.link("desk-a", address), link_b = site.link("desk-b", address);
  auto a = link_a->open({"alice", "", {}}).value(), b = link_b->open({"alice", "", {}}).value();
  SampleBatch from_a(a.incarnation, 1, {{"a.txt", "a's"}, {"from a", "a"}});
  CHECK(link_a->commit(a.session_secret, from_a.batch, from_a)->version == 2);
  SampleBatch from_b(b.incarnation, 1, {{"a.txt", "b's"}, {"from b", "b"}});
  std::optional<Result<wire::CommitReply>> reply;
  std::thread sender([&] { reply = link_b->commit(b.session_secret, from_b.batch, from_b); });
  CHECK(first.wait() == 137);
  Process second(site, address, "");
  sender.join();
  REQUIRE_MESSAGE(reply->has_value(), reply->error().to_string());
  CHECK(!(*reply)->forked);
  CHECK((*reply)->version == 4);
  REQUIRE(link_a->close(a.session_secret));
  REQUIRE(link_b->close(b.session_secret));
  auto later = link_a->open({"alice", "", {}}).value();
  const auto text = [&](const std::string& name) {
    return std::string(
        as_text(link_a->read(later.session_secret, path_of(name), "", 0, 100).value_or(Bytes())));
  };
  CHECK(text("a.txt") == "a's");
  CHECK(text("a (conflict, desk-b, version 3).txt") == "b's");
  CHECK(text("from a") == "a");
  CHECK(text("from b") == "b");
  CHECK(second.terminate() == 0);
  auto versions = site.versions();
  REQUIRE(versions.size() == 4);
  CHECK(versions[3].merged == 3);
  CHECK(versions[3].held_back.size() == 1);
}

TEST_CASE("agents are told what an administrator sets for their pool, at once and when they connect") {
  Site site;
  auto coordinator = site.start();
  auto run = [&](const json& request) { return coordinator->execute(request, {}); };
  const auto toml = [](const std::string& line) { return "[agent.settings]\n" + line + "\n"; };
  std::mutex mutex;
  std::vector<settings::SentSettings> heard;
  const auto nth = [&](std::size_t number) {
    for (int i = 0; i < 1000; ++i) {
      {
        std::lock_guard lock(mutex);
        if (heard.size() >= number) return heard[number - 1];
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return settings::SentSettings{{"nothing was heard", ""}};
  };
  auto options = site.identities.at("desk-a");
  options.address = coordinator->address();
  options.on_settings = [&](const settings::SentSettings& sent) {
    std::lock_guard lock(mutex);
    heard.push_back(sent);
  };
  const json set = {{"command", "desktop-pool.settings.set"}, {"pool", kDefaultPool}};
  auto with = [&](json request, const std::string& text) {
    request["text"] = text;
    return run(request);
  };
  REQUIRE(with(set, toml("FillMiBPerSecond = 20")));
  auto link = wire::TlsLink::create(options).value();
  REQUIRE(link->connect());
  CHECK(nth(1) == settings::SentSettings{{"FillMiBPerSecond", "20"}});
  REQUIRE(with(set, toml("LogLevel = \"debug\"")));
  CHECK(nth(2) == settings::SentSettings{{"LogLevel", "debug"}});
  // What is refused changes nothing, and nobody hears of it.
  const auto refused = with(set, toml("FreezeCommand = [\"x\"]"));
  REQUIRE(!refused);
  CHECK(refused.error().to_string().find(":2: 'FreezeCommand' cannot be set from here") != std::string::npos);
  CHECK(run({{"command", "desktop-pool.settings.show"}, {"pool", "default"}})->at("settings") ==
        json::array({{{"name", "LogLevel"}, {"value", "debug"}}}));
  CHECK(!with({{"command", "desktop-pool.settings.set"}, {"pool", "nowhere"}}, ""));
  // Another pool's count once the desktop is in it.
  REQUIRE(run({{"command", "desktop-pool.create"}, {"pool", "sales"}}));
  REQUIRE(with({{"command", "desktop-pool.settings.set"}, {"pool", "sales"}}, toml("FillPauses = 0")));
  REQUIRE(run({{"command", "desktop-pool.move"}, {"desktop", "desk-a"}, {"pool", "sales"}}));
  CHECK(nth(3) == settings::SentSettings{{"FillPauses", "0"}});
  // They outlive the coordinator.
  link.reset();
  coordinator.reset();
  coordinator = site.start();
  options.address = coordinator->address();
  link = wire::TlsLink::create(options).value();
  REQUIRE(link->connect());
  CHECK(nth(4) == settings::SentSettings{{"FillPauses", "0"}});
  REQUIRE(run({{"command", "desktop-pool.settings.set"}, {"pool", "sales"}}));
  CHECK(nth(5).empty());
}

TEST_CASE("administrators see who wants what, and may ask for a log-out; openings are in the audit log") {
  Site site;
  auto coordinator = site.start();
  auto run = [&](const json& request) { return coordinator->execute(request, {}).value(); };
  auto link_a = site.link("desk-a", coordinator->address()),
       link_b = site.link("desk-b", coordinator->address());
  std::atomic<int> closes{0}, prepares{0}, policies{0};
  link_a->set_push_listener([&](const wire::Push& push) {
    closes += push.kind == wire::PushKind::close ? 1 : 0;
    prepares += push.kind == wire::PushKind::prepare ? 1 : 0;
    policies += push.kind == wire::PushKind::policy_changed ? 1 : 0;
  });
  auto a = link_a->open({"alice", "", {}}).value();
  std::thread opening([&] { CHECK(link_b->open({"alice", "", {}})); });
  json session;
  for (int i = 0; i < 500 && !session.contains("wanted_by"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    session = run({{"command", "session.list"}})["sessions"][0];
  }
  CHECK(session["wanted_by"] == "desk-b");
  CHECK(session["connected"] == true);
  CHECK(session["vanished"] == false);
  CHECK(session["mode"] == "exclusive");
  run({{"command", "session.close"}, {"session", "alice"}});
  run({{"command", "assignment.add"}, {"desktop", "desk-a"}, {"profile", "alice"}});
  run({{"command", "desktop-pool.set"}, {"pool", kDefaultPool}, {"session_policy", "refuse"}});
  for (int i = 0; i < 500 && policies == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(closes == 1);
  CHECK(prepares == 1);
  CHECK(policies == 1);
  REQUIRE(link_a->hand_over(a.session_secret));
  opening.join();
  CHECK(link_a->open({"alice", "", {}}).error().code == ErrorCode::busy);
  link_a->set_push_listener(nullptr);
  coordinator.reset();
  std::string audited;
  for (const auto& file : std::filesystem::directory_iterator(site.folder / "state/audit")) {
    std::ifstream in(file.path());
    audited.append(std::istreambuf_iterator<char>(in), {});
  }
  for (const char* what : {"\"session.open\"", "\"session.hand_over\"", "\"session.close\""})
    CHECK_MESSAGE(audited.find(what) != std::string::npos, what);
  CHECK(audited.find("is open on desktop") != std::string::npos);  // the refusal
}

TEST_CASE("after a write that failed the repository is opened again, and the desktop's next try succeeds") {
  for (const char* point : {"server.before_commit", "commit.after_packs", "server.before_ack"}) {
    CAPTURE(point);
    Site site;
    Process process(site, "127.0.0.1:0", std::string(point) + "#1=error");
    auto link = site.link("desk-a", process.address());
    auto session = link->open({"alice", "", {}}).value();
    SampleBatch one(session.incarnation, 1, {{"x", "1"}});
    auto failed = link->commit(session.session_secret, one.batch, one);
    REQUIRE(!failed);
    CHECK(failed.error().code == ErrorCode::unavailable);
    auto again = link->commit(session.session_secret, one.batch, one);
    for (int i = 0; i < 100 && !again; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      again = link->commit(session.session_secret, one.batch, one);
    }
    REQUIRE_MESSAGE(again.has_value(), again.error().to_string());
    CHECK(again->version == 2);
    CHECK(!again->forked);
    CHECK(process.terminate() == 0);
    CHECK(site.versions().size() == 2);
  }
}

TEST_CASE("a lease that runs out lets the next desktop in, and the first one's late batch is a fork") {
  Site site;
  auto coordinator = site.start(std::chrono::seconds(1), {}, SessionPolicy::refuse);
  auto a = site.link("desk-a", coordinator->address());
  auto b = site.link("desk-b", coordinator->address());
  auto first = a->open({"alice", "", {}}).value();
  CHECK(!b->open({"alice", "", {}}));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  auto second = b->open({"alice", "", {}});
  REQUIRE_MESSAGE(second.has_value(), second.error().to_string());
  CHECK(second->epoch > first.epoch);
  SampleBatch late(first.incarnation, 1, {{"x", "late"}});
  CHECK(a->commit(first.session_secret, late.batch, late)->forked);
  SampleBatch good(second->incarnation, 1, {{"x", "good"}});
  CHECK(!b->commit(second->session_secret, good.batch, good)->forked);
}

TEST_CASE("what a dead desktop had not sent is taken from its disk, once, and kept beside the head") {
  if (!support::can_format_ntfs()) return;
  Site site;
  auto coordinator = site.start();
  auto link = site.link("desk-a", coordinator->address());
  extract::TestDesktop desktop;
  auto log_in = [&] {
    auto session = link->open({"alice", extract::kTestRoot, {}}).value();
    auto header = extract::encode_header(
        {session.session, "alice", session.version, extract::kTestRoot, "ProgramData/Roamstead/staging"});
    desktop.volume().write("ProgramData/Roamstead/provenance.journal", 0, header);
    return session;
  };
  auto extract_disk = [&](const std::string& session, const std::string& disk) {
    return coordinator->execute({{"command", "session.extract"}, {"session", session}, {"disk", disk}}, {});
  };
  auto session = log_in();
  auto unchanged = desktop.freeze().frozen_path;
  desktop.volume().write("Users/alice/unsaved.txt", 0, to_bytes("not sent"));
  auto changed = desktop.freeze().frozen_path;
  SUBCASE("with changes") {
    auto result = extract_disk("alice", changed);
    REQUIRE_MESSAGE(result.has_value(), result.error().to_string());
    CHECK(result->at("records") == 1);
    CHECK(result->at("forked") == true);
    auto profile = coordinator->repository().find_profile("alice").value();
    CHECK(profile.head == 1);
    auto tree = coordinator->repository().tree(profile.id, result->at("version")).value();
    Bytes content(8);
    REQUIRE(tree->read(path_of("unsaved.txt"), "", 0, content));
    CHECK(as_text(content) == "not sent");
  }
  SUBCASE("without changes") {
    auto result = extract_disk(session.session.to_string(), unchanged);
    REQUIRE_MESSAGE(result.has_value(), result.error().to_string());
    CHECK(result->at("records") == 0);
    CHECK(!result->contains("version"));
    CHECK(site.versions().size() == 1);
  }
  SUBCASE("of another session") {
    auto other = link->open({"alice", extract::kTestRoot, {}}).value();
    CHECK(extract_disk(other.session.to_string(), changed).error().code == ErrorCode::conflict);
    CHECK(link->renew(other.session_secret));
    return;
  }
  // The session is over; the desktop may log in anew.
  CHECK(link->renew(session.session_secret).error().code == ErrorCode::stale);
  CHECK(site.link("desk-b", coordinator->address())->open({"alice", "", {}}));
}

TEST_CASE("the last layer of a desktop that has vanished is saved as a fork, and its disk is only read") {
  if (!support::can_format_ntfs()) return;
  Site site;
  auto coordinator = site.start();
  auto link = site.link("desk-a", coordinator->address());
  extract::TestDesktop desktop;
  auto session = link->open({"alice", extract::kTestRoot, {}}).value();
  auto header = extract::encode_header(
      {session.session, "alice", session.version, extract::kTestRoot, "ProgramData/Roamstead/staging"});
  desktop.volume().write("ProgramData/Roamstead/provenance.journal", 0, header);
  desktop.volume().write("Users/alice/unsaved.txt", 0, to_bytes("not sent"));
  const auto disk = desktop.freeze().frozen_path;
  auto run = [&](json request) { return coordinator->execute(request, {}); };
  const json recover{{"command", "session.recover-layer"}, {"desktop", "desk-a"}};
  CHECK(run(recover).error().to_string().find("desktop disk") != std::string::npos);
  REQUIRE(run({{"command", "desktop.disk"}, {"desktop", "desk-a"}, {"disk", disk}}));
  CHECK(run({{"command", "desktop.disk"}, {"desktop", "nobody"}, {"disk", disk}}).error().code ==
        ErrorCode::not_found);
  CHECK(run({{"command", "desktop.disk"}, {"desktop", "desk-a"}, {"disk", "relative"}}).error().code ==
        ErrorCode::invalid_argument);
  CHECK(run(recover).error().code == ErrorCode::busy);  // it is connected
  link.reset();
  const auto gone = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (coordinator->sessions().is_connected("desk-a") && std::chrono::steady_clock::now() < gone)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  auto& files = os::real_file_system();
  const auto folder = os::parent_directory(disk);
  auto everything = [&] {
    std::map<std::string, Bytes> contents;
    const auto names = files.list_directory(folder).value();
    for (const auto& name : names)
      if (auto content = os::read_file(files, os::join_path(folder, name), 1u << 30))
        contents[name] = std::move(*content);
    return contents;
  };
  const auto before = everything();
  CHECK(before.size() > 1);
  auto result = run(recover);
  REQUIRE_MESSAGE(result.has_value(), result.error().to_string());
  CHECK(everything() == before);
  const auto& saved = result->at("sessions").at(0);
  CHECK(saved.at("records") == 1);
  CHECK(saved.at("forked") == true);
  auto profile = coordinator->repository().find_profile("alice").value();
  CHECK(profile.head == 1);
  auto tree = coordinator->repository().tree(profile.id, saved.at("version")).value();
  Bytes content(8);
  REQUIRE(tree->read(path_of("unsaved.txt"), "", 0, content));
  CHECK(as_text(content) == "not sent");
  CHECK(run(recover).error().code == ErrorCode::not_found);  // nothing is open there any more
}

TEST_CASE("administrators' commands answer what they did, and say what is wrong with what they cannot do") {
  Site site;
  auto coordinator = site.start();
  auto run = [&](const json& request) { return coordinator->execute(request, {}); };
  CHECK(run({{"command", "desktop.list"}})->at("desktops").size() == 2);
  CHECK(run({{"command", "assignment.list"}})->at("assignments").size() == 2);
  CHECK(run({{"command", "desktop.enroll"}, {"desktop", "desk-a"}}).error().code == ErrorCode::exists);
  CHECK(run({{"command", "desktop.enroll"}, {"desktop", "../x"}}).error().code ==
        ErrorCode::invalid_argument);
  CHECK(run({{"command", "desktop.enroll"}}).error().code == ErrorCode::invalid_argument);
  CHECK(run({{"command", "desktop.enroll"}, {"desktop", 7}}).error().code == ErrorCode::invalid_argument);
  CHECK(run({{"command", "desktop.revoke"}, {"desktop", "nobody"}}).error().code == ErrorCode::not_found);
  CHECK(run({{"command", "assignment.add"}, {"desktop", "nobody"}, {"profile", "alice"}}).error().code ==
        ErrorCode::not_found);
  CHECK(run({{"command", "assignment.add"}, {"desktop", "desk-a"}, {"profile", "nobody"}}).error().code ==
        ErrorCode::not_found);
  CHECK(run({{"command", "session.extract"}, {"session", "alice"}, {"disk", "/nowhere"}}).error().code ==
        ErrorCode::not_found);
  CHECK(run({{"command", "no.such"}}).error().code == ErrorCode::invalid_argument);
  CHECK(run(json()).error().code == ErrorCode::invalid_argument);
  CHECK(run(json::array({1, 2})).error().code == ErrorCode::invalid_argument);
  auto link = site.link("desk-a", coordinator->address());
  REQUIRE(link->open({"alice", "", {}}));
  auto sessions = run({{"command", "session.list"}})->at("sessions");
  REQUIRE(sessions.size() == 1);
  CHECK(sessions[0]["desktop"] == "desk-a");
  REQUIRE(run({{"command", "desktop.revoke"}, {"desktop", "desk-a"}}));
  auto refused = link->open({"alice", "", {}});
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::denied);
  // The name is free again; the old certificate stays refused.
  auto issued = run({{"command", "desktop.enroll"}, {"desktop", "desk-a"}}).value();
  CHECK(link->open({"alice", "", {}}).error().code == ErrorCode::denied);
}

TEST_CASE("the administrators' socket is for its owner, and survives nonsense") {
  Site site;
  auto coordinator = site.start();
  auto path = site.folder / "state/admin.sock";
  struct stat status {};
  REQUIRE(stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  auto ask = [&](const std::string& text) {
    auto socket = diskcontrol::connect_unix(path).value();
    std::size_t sent = 0;
    while (sent < text.size()) {
      auto count = ::write(socket.number(), text.data() + sent, text.size() - sent);
      if (count <= 0) break;
      sent += static_cast<std::size_t>(count);
    }
    std::string answer;
    char c = 0;
    while (::read(socket.number(), &c, 1) == 1 && c != '\n') answer += c;
    return json::parse(answer, nullptr, false);
  };
  ::signal(SIGPIPE, SIG_IGN);
  CHECK(ask("{\"command\":\"desktop.list\"}\n")["result"]["desktops"].size() == 2);
  CHECK(ask("nonsense\n")["error"]["code"] == "invalid-argument");
  CHECK(ask("[1,2,3]\n").contains("error"));
  CHECK(ask("\xff\xfe{\"command\": \"\x80\"}\n").contains("error"));
  CHECK(ask(std::string(100'000, 'x'))["error"]["code"] == "protocol");
  CHECK(ask("{\"command\":\"desktop.list\"}\n")["result"]["desktops"].size() == 2);
}

}  // namespace
}  // namespace roamstead::server
