// Clones set back and deleted while somebody works on them. The desktop here is a link with the identity from
// the clone's own disk, and what it writes is written to that disk.
#include <doctest/doctest.h>

#include <condition_variable>
#include <filesystem>
#include <thread>

#include "agent/core/session.h"
#include "agent/library/library_profile_volume.h"
#include "agent/testing/scripted_snapshots.h"
#include "common/extract/provenance.h"
#include "common/ntfs3g/library_volume.h"
#include "coordinator/compose/pool_job.h"
#include "coordinator/compose/windows_volume.h"
#include "coordinator/server/testing/clone_site.h"
#include "coordinator/server/testing/sample_batch.h"
#include "tests/support/command.h"

namespace roamstead::server {
namespace {

using nlohmann::json;
using support::must;

TEST_CASE("what a desktop that is gone had not sent is in the repository before its disk is set back") {
  if (!support::available("mkntfs")) return;
  CloneSite site;
  const auto old = site.identity();
  {
    auto link = wire::TlsLink::create(old).value();
    site.work(*link);
    // It is there: nobody could read its disk.
    auto refresh = site.of_clone("clone.refresh", kClone);
    refresh["within_seconds"] = 0;
    const auto refused = site.refusal(refresh);
    CHECK(refused.code == ErrorCode::busy);
    CHECK(refused.to_string().find("did not log out within 0 s") != std::string::npos);
    CHECK(file_of(site.active, std::string(kRoot) + "/unsaved.txt") == "not sent");
  }
  site.wait_until_gone();
  // Its lease runs: without a hypervisor to ask, it may be alive.
  const auto too_early = site.refusal(site.of_clone("clone.refresh", kClone));
  CHECK(too_early.code == ErrorCode::busy);
  CHECK(too_early.to_string().find("it may be running") != std::string::npos);
  CHECK(site.versions() == 1);
  site.coordinator.reset();
  site.coordinator = site.start(std::chrono::seconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));

  const auto refreshed = site.must_do(site.of_clone("clone.refresh", kClone));
  REQUIRE(refreshed["saved"].size() == 1);
  CHECK(refreshed["saved"][0]["records"] == 1);
  CHECK(refreshed["saved"][0]["forked"] == true);
  CHECK(site.saved_file(refreshed["saved"][0]["version"], "unsaved.txt") == "not sent");
  CHECK(file_of(site.active, std::string(kRoot) + "/unsaved.txt").empty());
  CHECK(file_of(site.active, "ProgramData/Roamstead/provenance.journal").empty());
  CHECK(site.must_do({{"command", "session.list"}})["sessions"].empty());

  // The old identity never counts again; the new one does.
  auto gone = old;
  gone.address = site.coordinator->address();
  CHECK(!wire::TlsLink::create(gone).value()->open({"alice", kRoot, {}}));
  auto link = wire::TlsLink::create(site.identity()).value();
  const auto session = link->open({"alice", kRoot, {}});
  REQUIRE_MESSAGE(session.has_value(), session.error().to_string());
}

TEST_CASE("a machine that runs is switched off, read, set back and started again") {
  if (!support::available("mkntfs")) return;
  support::TemporaryDirectory vms;
  std::ofstream(vms / "vm") << "case $1 in\n on) touch \"$2\" ;;\n off) rm -f \"$2\" ;;\n state) [ -e \"$2\" "
                               "] && echo on || echo off ;;\nesac\n";
  std::string section = "[vm]\nadapter = \"command\"\nformats = [\"vhdx\"]\npower_on = true\n[vm.commands]\n";
  for (const auto& [key, word] :
       {std::pair("power_on", "on"), {"power_off", "off"}, {"power_state", "state"}})
    section += std::string(key) + " = [\"/bin/sh\", \"" + vms / "vm" + "\", \"" + word + "\", \"" +
               vms / "{name}" + "\"]\n";
  CloneSite site(section);
  const auto running = vms / kClone;
  CHECK(std::filesystem::exists(running));
  auto refresh = site.of_clone("clone.refresh", kClone);

  SUBCASE("a desktop that is asked logs out by itself") {
    auto link = wire::TlsLink::create(site.identity()).value();
    const auto session = site.work(*link);
    std::mutex mutex;
    std::condition_variable asked;
    bool closing = false;
    link->set_push_listener([&](const wire::Push& push) {
      std::lock_guard guard(mutex);
      closing = closing || push.kind == wire::PushKind::close;
      asked.notify_all();
    });
    std::thread desktop([&] {
      std::unique_lock lock(mutex);
      asked.wait(lock, [&] { return closing; });
      lock.unlock();
      CHECK(link->open({"alice", kRoot, {}}).error().code == ErrorCode::busy);  // nothing new meanwhile
      SampleBatch last(session.incarnation, 1, {{"unsaved.txt", "sent"}});
      CHECK(link->commit(session.session_secret, last.batch, last));
      CHECK(link->close(session.session_secret));
    });
    const auto refreshed = site.must_do(refresh);
    desktop.join();
    link->set_push_listener(nullptr);
    CHECK(refreshed["saved"].empty());  // nothing was left to be read
    CHECK(refreshed["started"] == true);
    CHECK(site.versions() == 2);
  }
  SUBCASE("one that lost its connection is read at once: it is off, that is known") {
    {
      auto link = wire::TlsLink::create(site.identity()).value();
      site.work(*link);
    }
    site.wait_until_gone();
    const auto refreshed = site.must_do(refresh);
    REQUIRE(refreshed["saved"].size() == 1);
    CHECK(site.saved_file(refreshed["saved"][0]["version"], "unsaved.txt") == "not sent");
    CHECK(refreshed["started"] == true);
  }
  SUBCASE("a disk that cannot be read is not replaced, unless its changes are given up") {
    {
      auto link = wire::TlsLink::create(site.identity()).value();
      must(link->open({"alice", kRoot, {}}));
    }
    site.wait_until_gone();
    std::filesystem::copy_file(site.active, site.active + ".kept");
    std::ofstream(site.active, std::ios::trunc) << "damaged";
    const auto refused = site.refusal(refresh);
    CHECK(refused.to_string().find("--discard-unsent") != std::string::npos);
    CHECK(std::filesystem::file_size(site.active) == 7);
    CHECK(site.must_do({{"command", "session.list"}})["sessions"].size() == 1);
    refresh["discard_unsent"] = true;
    const auto refreshed = site.must_do(refresh);
    CHECK(refreshed["saved"].empty());
    CHECK(site.must_do({{"command", "session.list"}})["sessions"].empty());
    CHECK(site.versions() == 1);
  }
  SUBCASE("deleting a desktop or its pool saves it too") {
    {
      auto link = wire::TlsLink::create(site.identity()).value();
      site.work(*link);
    }
    site.wait_until_gone();
    json deleted;
    SUBCASE("the desktop") { deleted = site.must_do(site.of_clone("clone.delete", kClone)); }
    SUBCASE("the pool") { deleted = site.must_do({{"command", "pool.delete"}, {"pool", "sales"}}); }
    REQUIRE(deleted["saved"].size() == 1);
    CHECK(site.saved_file(deleted["saved"][0]["version"], "unsaved.txt") == "not sent");
    CHECK(!std::filesystem::exists(site.active));
    CHECK(!std::filesystem::exists(running));
    return;
  }
  CHECK(file_of(site.active, std::string(kRoot) + "/unsaved.txt").empty());
  CHECK(!file_of(site.active, "ProgramData/Roamstead/identity/identity.pem").empty());
}

TEST_CASE(
    "what a desktop that vanished had not sent is saved by itself once its machine is off, and not before") {
  if (!support::available("mkntfs")) return;
  support::TemporaryDirectory vms;
  std::ofstream(vms / "on") << "";
  // Answers "on" as long as that file is there.
  CloneSite site(
      "[vm]\nadapter = \"command\"\nformats = [\"vhdx\"]\n[vm.commands]\npower_on = "
      "[\"/bin/true\"]\npower_off = [\"/bin/true\"]\npower_state = [\"/bin/sh\", \"-c\", \"[ -e " +
      vms / "on" + " ] && echo on || echo off\"]\n");
  site.coordinator.reset();
  site.vanished_recovery = std::chrono::milliseconds(20);
  site.coordinator = site.start(std::chrono::seconds(1));
  {
    auto link = wire::TlsLink::create(site.identity()).value();
    site.work(*link);
  }
  const auto session = [&] { return site.must_do({{"command", "session.list"}})["sessions"]; };
  while (session()[0]["vanished"] == false) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(site.versions() == 1);  // it may be running, cut off
  CHECK(session().size() == 1);
  std::filesystem::remove(vms / "on");
  for (int i = 0; i < 1000 && !session().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(session().empty());
  REQUIRE(site.versions() == 2);
  CHECK(site.saved_file(2, "unsaved.txt") == "not sent");
  CHECK(site.must_do({{"command", "profile.forks"}, {"profile", "alice"}})["forks"].size() == 1);
}

TEST_CASE(
    "what a desktop had not sent when its profile was taken over is saved before its disk is set back") {
  if (!support::available("mkntfs")) return;
  CloneSite site;
  wire::OpenReply session;
  {
    auto link = wire::TlsLink::create(site.identity()).value();
    session = site.work(*link);
  }
  site.wait_until_gone();
  std::size_t saved = 1;
  auto wanted = site.of_clone("clone.refresh", kClone);
  site.coordinator.reset();
  site.coordinator = site.start(std::chrono::seconds(1));
  SUBCASE("by another desktop, when it could not be asked") {
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    const auto other = site.link("desk-a", site.coordinator->address());
    must(other->open({"alice", kRoot, {}}));
    SUBCASE("") {}
    SUBCASE("or deleted with its pool") { wanted = {{"command", "pool.delete"}, {"pool", "sales"}}; }
  }
  SUBCASE("with its leave: there is nothing left to save") {
    auto link = wire::TlsLink::create(site.identity()).value();
    SampleBatch last(session.incarnation, 1, {{"unsaved.txt", "sent"}});
    must(link->commit(session.session_secret, last.batch, last));
    must(link->hand_over(session.session_secret));
    write_on(site.active, "ProgramData/Roamstead/provenance.journal",
             extract::encode_header({Guid::random(), "alice", 2, kRoot, "ProgramData/Roamstead/staging"}));
    saved = 0;
  }
  site.wait_until_gone();
  json refreshed;
  for (int i = 0; i < 1000; ++i) {  // as long as the lease may run
    const auto answer = site.coordinator->execute(wanted, {});
    if (answer) {
      refreshed = *answer;
      break;
    }
    REQUIRE(answer.error().code == ErrorCode::busy);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  REQUIRE(refreshed["saved"].size() == saved);
  if (saved != 0) {
    CHECK(refreshed["saved"][0]["forked"] == true);
    CHECK(site.saved_file(refreshed["saved"][0]["version"], "unsaved.txt") == "not sent");
  }
  CHECK(site.versions() == 2);
  if (!std::filesystem::exists(site.active)) return;
  CHECK(wanted["command"] == "clone.refresh");
  CHECK(file_of(site.active, std::string(kRoot) + "/unsaved.txt").empty());
  CHECK(site.must_do(wanted)["saved"].empty());
}

TEST_CASE("certificates that were renewed or revoked since do not come back with a refresh") {
  if (!support::available("mkntfs")) return;
  CloneSite site;
  const auto first = site.identity();
  // Renewed: another certificate, which only the disk's top layer had.
  const auto issued = must(site.coordinator->authority().issue_desktop(kClone));
  must(site.coordinator->store().revoke_desktop(kClone, 1));
  must(site.coordinator->store().add_desktop({kClone, issued.serial, 1, 0, kDefaultPool}));
  auto renewed = first;
  renewed.key_pem = issued.key_pem;
  renewed.certificate_pem = issued.certificate_pem;
  const auto opens = [&](wire::TlsLinkOptions options) {
    options.address = site.coordinator->address();
    options.call_timeout = std::chrono::seconds(5);
    const auto link = wire::TlsLink::create(options).value();
    const auto session = link->open({"alice", kRoot, {}});
    if (session) must(link->close(session->session_secret));
    return session.has_value();
  };
  CHECK(!opens(first));
  CHECK(opens(renewed));
  site.wait_until_gone();
  site.must_do(site.of_clone("clone.refresh", kClone));
  CHECK(!opens(first));
  CHECK(!opens(renewed));
  CHECK(opens(site.identity()));
  site.wait_until_gone();
  // The reference snapshot still holds the first one, and the fresh child another.
  CHECK(file_of(site.disk("SALES-01.reference.vhdx"), "ProgramData/Roamstead/identity/identity.pem")
            .find(first.key_pem) == 0);
  CHECK(site.identity().key_pem != first.key_pem);

  // Revoked by an administrator: an operator's refresh does not let it in again.
  site.must_do({{"command", "desktop.revoke"}, {"desktop", kClone}});
  const Caller operator_role{"olga", Role::operator_, "test"};
  const auto refused = site.coordinator->execute(operator_role, site.of_clone("clone.refresh", kClone), {});
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::denied);
  CHECK(!opens(site.identity()));
}

TEST_CASE("layers that were frozen above the reference snapshot go with a refresh, and it stays") {
  if (!support::available("mkntfs")) return;
  CloneSite site;
  auto& files = os::real_file_system();
  const auto reference = site.disk("SALES-01.reference.vhdx");
  const auto before = must(vdisk::inspect(files, reference)).id;
  std::vector<std::string> frozen;
  {
    const auto disk = must(vdisk::Disk::open(files, site.active, vdisk::Access::write));
    for (int i = 0; i < 3; ++i) {
      must(disk->write(40u << 20, Bytes(4096, static_cast<std::byte>(i))));
      frozen.push_back(must(disk->freeze()).frozen_path);
    }
  }
  for (const auto& path : frozen) CHECK(std::filesystem::exists(path));
  site.must_do(site.of_clone("clone.refresh", kClone));
  for (const auto& path : frozen) CHECK(!std::filesystem::exists(path));
  CHECK(must(vdisk::inspect(files, reference)).id == before);
  CHECK(must(vdisk::Disk::open(files, site.active, vdisk::Access::read))->layers().size() == 4);
  site.must_do({{"command", "pool.delete"}, {"pool", "sales"}});
  CHECK(std::filesystem::is_empty(site.disk("")));
}

constexpr const char* kSteps =
    R"({"format": 1, "steps": [{"kind": "script", "name": "a.cmd", "attempts": 3, "timeout_seconds": 9},
        {"kind": "script", "name": "b.cmd", "attempts": 3, "timeout_seconds": 9}]})";
std::string state_of(const std::string& whole, const std::string& steps) {
  return R"({"format": 1, "status": ")" + whole + R"(", "restarts": 0, "steps": [)" + steps + "]}";
}
constexpr const char* kDoneA =
    R"({"name": "a.cmd", "attempts": 1, "status": "done", "exit": 0, "error": ""})";
constexpr const char* kDoneB =
    R"(,{"name": "b.cmd", "attempts": 2, "status": "done", "exit": 0, "error": ""})";
constexpr const char* kFailedB =
    R"(,{"name": "b.cmd", "attempts": 3, "status": "failed", "error": "timed out after 9 s"})";

TEST_CASE("a desktop is ready when all that it runs once is done, and not before") {
  using compose::BootState;
  const auto judged = [](const std::string& steps, const std::string& state) {
    return compose::judge_first_boot(steps, state);
  };
  CHECK(judged("", "").state == BootState::ready);
  CHECK(judged(kSteps, "").state == BootState::started);
  CHECK(judged(kSteps, state_of("running", kDoneA)).state == BootState::started);
  CHECK(judged(kSteps, state_of("restarting", kDoneA)).state == BootState::started);
  CHECK(judged(kSteps, state_of("done", kDoneA)).state == BootState::started);  // one is missing
  CHECK(judged(kSteps, state_of("running", std::string(kDoneA) + kDoneB)).state == BootState::started);
  CHECK(judged(kSteps, state_of("done", std::string(kDoneA) + kDoneB)).state == BootState::ready);
  const auto failed = judged(kSteps, state_of("failed", std::string(kDoneA) + kFailedB));
  CHECK(failed.state == BootState::failed_first_boot);
  CHECK(failed.detail == "step 'b.cmd' failed: timed out after 9 s");
  // Foreign input.
  for (const auto& [steps, state] :
       {std::pair<std::string, std::string>{"x", ""},
        {kSteps, "{}"},
        {kSteps, "[1"},
        {kSteps, R"({"format": 2, "steps": []})"},
        {kSteps, R"({"format": 1, "steps": [7]})"},
        {kSteps, R"({"format": 1, "steps": {"a": 1}})"},
        {kSteps, "{\"format\": 1, \"steps\": [{\"status\": \"failed\", \"error\": \"" +
                     std::string(100'000, 'e') + "\"}]}"}}) {
    const auto wrong = judged(steps, state);
    CHECK(wrong.state == BootState::failed_first_boot);
    CHECK(!wrong.detail.empty());
    CHECK(wrong.detail.size() <= 1000);
  }
}

TEST_CASE("desktops report how far they are, or their disk tells, and a refresh begins anew") {
  if (!support::available("mkntfs")) return;
  CloneSite site;
  const auto boot_of = [&] { return site.must_do(site.of_clone("clone.show", kClone)); };
  const auto list = [&] { return site.must_do({{"command", "clone.list"}})["clones"][0]; };
  CHECK(boot_of()["boot"] == "made");
  {
    auto link = wire::TlsLink::create(site.identity()).value();
    REQUIRE(link->report_first_boot({kSteps, ""}));
    CHECK(list()["boot"] == "started");
    CHECK(list()["ready"] == false);
    REQUIRE(link->report_first_boot({kSteps, state_of("failed", std::string(kDoneA) + kFailedB)}));
    CHECK(list()["boot"] == "failed-first-boot");
    CHECK(list()["boot_detail"] == "step 'b.cmd' failed: timed out after 9 s");
    REQUIRE(link->report_first_boot({kSteps, state_of("done", std::string(kDoneA) + kDoneB)}));
    CHECK(list()["ready"] == true);
    const auto large = link->report_first_boot({std::string(wire::kMostFirstBootBytes + 1, 's'), ""});
    REQUIRE(!large);
    CHECK(large.error().code == ErrorCode::protocol);
    // A desktop that is no clone says it in vain.
    auto other = site.link("desk-a", site.coordinator->address());
    CHECK(other->report_first_boot({"", ""}));
  }
  site.wait_until_gone();
  site.must_do(site.of_clone("clone.refresh", kClone));
  CHECK(boot_of()["boot"] == "made");
  // An image without an agent: what lies on the disk counts, while nobody writes to it.
  const std::string folder = "ProgramData/Roamstead/firstboot/";
  write_on(site.active, folder + "steps.json", as_bytes(std::string_view(kSteps)));
  CHECK(boot_of()["boot"] == "made");
  write_on(site.active, folder + "state.json", as_bytes(state_of("running", kDoneA)));
  CHECK(boot_of()["boot"] == "started");
  write_on(site.active, folder + "state.json", as_bytes(state_of("done", std::string(kDoneA) + kDoneB)));
  {
    const auto used = must(vdisk::Disk::open(os::real_file_system(), site.active, vdisk::Access::write));
    const auto shown = boot_of();
    CHECK(shown["boot"] == "started");
    CHECK(shown["boot_unread"].get<std::string>().find("in use") != std::string::npos);
  }
  CHECK(boot_of()["boot"] == "ready");
  CHECK(list()["ready"] == true);
}

// The agent's core on a clone's disk, in this process: what it reads and what it asks the coordinator for.
struct FirstLogIn {
  std::string content;                      // of a.txt and Documents/b.txt
  std::uint64_t fetched = 0;                // bytes received after the session was opened
  std::uint64_t received = 0;               // all of them
  bool had_file = false, has_file = false;  // prewarmed, before and after
};
FirstLogIn log_in(CloneSite& site) {
  auto& files = os::real_file_system();
  const auto place = must(compose::WindowsDisk::open(files, site.active))->place();
  const auto options = site.identity();
  const auto disk = must(vdisk::Disk::open(files, site.active, vdisk::Access::write));
  vdisk::SubDevice device(*disk, place.offset_bytes, place.size_bytes, site.active);
  FirstLogIn result;
  const auto library = must(ntfs3g::LibraryVolume::mount(device, ntfs3g::Access::write));
  agent::LibraryProfileVolume volume(*library);
  must(volume.make_directories("Users"));
  const auto prewarmed = "ProgramData/Roamstead/prewarm/" + profile::prewarm_file_name("alice");
  result.had_file = must(volume.files().exists(prewarmed));
  support::TemporaryDirectory state;
  agent::SessionConfig config;
  config.profile = "alice";
  config.profile_root = kRoot;
  config.change_log_path = state / "change.log";
  config.snapshot_interval = std::chrono::milliseconds(0);
  agent::testing::ScriptedSnapshots snapshots;
  const auto link = must(wire::TlsLink::create(options));
  {
    const auto session = must(agent::Session::start(config, *link, volume, snapshots, {}));
    const auto before = link->bytes_received();
    for (const char* path : {"a.txt", "Documents/b.txt"}) {
      must(session->loader().populate_above(path_of(path), agent::Priority::foreground));
      const auto file = must(volume.open(std::string(kRoot) + "/" + path, ""));
      const auto size = must(file->size());
      must(session->loader().load(*file, {0, size}, agent::Priority::foreground));
      Bytes content(static_cast<std::size_t>(size));
      must(file->read(0, content));
      result.content += as_text(content);
    }
    result.received = link->bytes_received();
    result.fetched = result.received - before;
    must(session->logout(std::chrono::seconds(10)));
  }
  result.has_file = must(volume.files().exists(prewarmed));
  must(library->unmount());
  return result;
}

TEST_CASE(
    "a user's first log-in on a desktop that was prewarmed for him fetches nothing that is on the disk") {
  if (!support::available("mkntfs")) return;
  const auto learn = [](PoolSite& site) {
    const auto link = site.link("desk-a", site.coordinator->address());
    const auto session = must(link->open({"alice", "", {}}));
    using Kind = wire::WorkingItem::Kind;
    must(link->learned(
        session.session_secret,
        {{Kind::file, "a.txt", ""}, {Kind::file, "Documents/b.txt", ""}, {Kind::file, "gone.txt", ""}}));
    must(link->close(session.session_secret));
  };
  const std::string expected = "first" + std::string(200'000, 'b');
  const std::string assign = "[[assign]]\ndesktop = \"sales-01\"\nprofile = \"alice\"\n";
  SUBCASE("at its making, after a refresh, and not of a version that is past") {
    CloneSite site(assign, learn);
    CHECK(must(site.coordinator->store().assignments()).size() == 3);
    const auto first = log_in(site);
    CHECK(first.content == expected);
    CHECK(first.had_file);
    CHECK(first.fetched == 0);
    // Set back: it is laid there again.
    site.wait_until_gone();
    site.must_do(site.of_clone("clone.refresh", kClone));
    const auto second = log_in(site);
    CHECK(second.had_file);
    CHECK(second.fetched == 0);
    CHECK(second.content == expected);
    // Saved elsewhere since: what lies there is of another version, and goes.
    site.wait_until_gone();
    site.must_do(site.of_clone("clone.refresh", kClone));
    {
      const auto link = site.link("desk-a", site.coordinator->address());
      const auto session = must(link->open({"alice", "", {}}));
      SampleBatch batch(session.incarnation, 1, {{"a.txt", "other"}});
      must(link->commit(session.session_secret, batch.batch, batch));
      must(link->close(session.session_secret));
    }
    const auto third = log_in(site);
    CHECK(third.had_file);
    CHECK(!third.has_file);
    CHECK(third.received > first.received + 200);  // lists and contents, however well they compress
    CHECK(third.content == "other" + std::string(200'000, 'b'));
  }
  SUBCASE("within its bound, which may be nothing") {
    CloneSite site(assign + "[prewarm]\nmegabytes = 0\n", learn);
    const auto first = log_in(site);
    CHECK(first.content == expected);
    CHECK(!first.had_file);
    CHECK(first.received > 200);
  }
}

TEST_CASE("assignments of a specification are checked with it") {
  if (!support::available("mkntfs")) return;
  PoolSite site;
  const auto refused = [&](const std::string& section) {
    return site.refusal(site.request("pool.plan", section)).to_string();
  };
  CHECK(refused("[[assign]]\ndesktop = \"SALES-04\"\nprofile = \"alice\"\n")
            .find("'SALES-04' is no desktop of this pool") != std::string::npos);
  CHECK(refused("[[assign]]\ndesktop = \"SALES-\"\nprofile = \"alice\"\n").find("no desktop of this pool") !=
        std::string::npos);
  CHECK(refused("[[assign]]\nprofile = \"alice\"\n").find("a name with {n}") != std::string::npos);
  CHECK(refused("[[assign]]\nprofile = \"user-{n}\"\n").find("desktop 'SALES-01': no profile 'user-1'") !=
        std::string::npos);
  for (const char* name : {"user-1", "user-2", "user-3"})
    site.must({{"command", "profile.create"}, {"profile", name}});
  site.must(site.request("pool.create", "[[assign]]\nprofile = \"user-{n}\"\n"));
  std::map<std::string, std::string> users;
  for (const auto& each : must(site.coordinator->store().assignments()))
    users[each.desktop] = each.profile_name;
  CHECK(users["SALES-02"] == "user-2");
  CHECK(users["SALES-03"] == "user-3");
}

TEST_CASE("a prewarm file that was not written so is left alone") {
  profile::Prewarm prewarm;
  prewarm.profile = "alice";
  prewarm.version = 7;
  prewarm.files.push_back({path_of("a.txt"), 5, to_bytes("first")});
  prewarm.directories.push_back({{}, {{"a.txt", {}}}});
  const auto file = profile::encode_prewarm(prewarm);
  const auto read = must(profile::decode_prewarm(file));
  CHECK(read.version == 7);
  CHECK(read.files.at(0).content == to_bytes("first"));
  for (std::size_t at = 0; at < file.size(); ++at) {
    auto damaged = file;
    damaged[at] ^= std::byte{0x10};
    const bool is_unused = at >= 12 && at < 16;
    CHECK(profile::decode_prewarm(damaged).has_value() == is_unused);
    CHECK(!profile::decode_prewarm(ByteView(file).first(at)));
  }
  prewarm.files[0].size_bytes = 4;
  CHECK(!profile::decode_prewarm(profile::encode_prewarm(prewarm)));
  CHECK(profile::prewarm_file_name("../../x") != profile::prewarm_file_name("alice"));
  CHECK(profile::prewarm_file_name("alice").find_first_not_of("0123456789abcdef.rsp") == std::string::npos);
}

}  // namespace
}  // namespace roamstead::server
