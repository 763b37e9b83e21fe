// Snapshots that the host makes of a pool's desktop: real disks, frozen and merged by `roamstead disk`; the
// desktop is a link with the identity from its disk, and what it writes is written to that disk.
#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>

#include "coordinator/compose/clone_layers.h"
#include "coordinator/server/host_snapshots.h"
#include "coordinator/server/testing/clone_site.h"
#include "tests/support/command.h"

namespace roamstead::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using support::must;
using wire::SnapshotState;
constexpr milliseconds kPatience{60'000};

std::string section(bool merges = true, int seconds = 0) {
  const std::string program = "\"" ROAMSTEAD_PROGRAM "\", \"disk\", ";
  return "[vm]\nadapter = \"command\"\nformats = [\"vhdx\"]\nsnapshot_seconds = " + std::to_string(seconds) +
         "\n[vm.commands]\nfreeze = [" + program + "\"snapshot\", \"--json\", \"{disk}\"]\n" +
         (merges ? "merge = [" + program + "\"merge\", \"{disk}\", \"--layer\", \"{index}\"]\n" : "");
}

struct HostSite : CloneSite {
  std::unique_ptr<wire::TlsLink> link;
  wire::OpenReply session;

  explicit HostSite(const std::string& of_vm = section()) : CloneSite(of_vm) {
    link = support::must(wire::TlsLink::create(identity()));
    session = work(*link);
  }
  // As after a kill: what it had in memory is gone.
  void start_again(Faults faults = {}) {
    link.reset();
    coordinator.reset();
    coordinator = start(std::chrono::seconds(30), std::move(faults));
    link = support::must(wire::TlsLink::create(identity()));
  }
  void write(const std::string& name, const std::string& content) {
    // Merging has the disk to itself, as nobody serves it here.
    const auto alone = coordinator->command_context().snapshots->shut(kClone);
    write_on(active, std::string(kRoot) + "/" + name, as_bytes(content));
  }
  wire::QuietRequest request() {
    return {session.session_secret,
            session.incarnation,
            Guid::random(),
            {},
            false,
            "ProgramData/Roamstead/provenance.journal"};
  }
  SnapshotState state(const wire::QuietRequest& asked, const wire::FrozenReply& frozen, bool held = true) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      auto told = link->held(
          {asked.session_secret, asked.incarnation, asked.token, frozen.snapshot, frozen.ordinal, held},
          kPatience);
      // Busy: a batch is just being committed.
      if (told || told.error().code != ErrorCode::busy || std::chrono::steady_clock::now() >= end)
        return support::must(std::move(told));
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
  SnapshotState wait(const wire::QuietRequest& asked, const wire::FrozenReply& frozen) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    auto now = state(asked, frozen);
    while (now.kind == SnapshotState::Kind::working && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(milliseconds(5));
      now = state(asked, frozen);
    }
    return now;
  }
  // Of what is frozen while layers are merged the desktop is told to try again.
  wire::FrozenReply freeze(const wire::QuietRequest& asked) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      auto frozen = link->quiet(asked, kPatience);
      if (frozen || frozen.error().code != ErrorCode::busy || std::chrono::steady_clock::now() >= end)
        return support::must(std::move(frozen));
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
  SnapshotState save() {
    const auto asked = request();
    return wait(asked, freeze(asked));
  }
  std::size_t layers() {  // with the top
    return support::must(compose::layers_of_clone(os::real_file_system(), active)).size();
  }
  void wait_for_layers(std::size_t most) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (layers() > most && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(milliseconds(10));
    CHECK(layers() <= most);
  }
};

TEST_CASE("a running desktop's disk is frozen, and what changed in it becomes the next version") {
  if (!support::available("mkntfs")) return;
  HostSite site;
  CHECK(must(site.link->snapshot_offer(site.session.session_secret)).interval_ms == 0);
  const auto asked = site.request();
  const auto frozen = site.freeze(asked);
  CHECK(frozen.ordinal == 1);
  CHECK(site.layers() == 2);
  // Asked again, as after a lost connection: frozen once.
  const auto again = must(site.link->quiet(asked, kPatience));
  CHECK(again.snapshot == frozen.snapshot);
  CHECK(site.layers() == 2);
  CHECK(site.versions() == 1);  // nothing is made of it before it is confirmed
  const auto saved = site.wait(asked, frozen);
  REQUIRE_MESSAGE(saved.kind == SnapshotState::Kind::saved, saved.message);
  CHECK(saved.records == 1);
  CHECK_FALSE(saved.forked);
  CHECK(site.saved_file(saved.version, "unsaved.txt") == "not sent");

  SUBCASE("the next one holds what changed since, and layers stay few") {
    for (int i = 0; i < 4; ++i) {
      site.write("more " + std::to_string(i), "content.");
      const auto next = site.save();
      REQUIRE_MESSAGE(next.kind == SnapshotState::Kind::saved, next.message);
      CHECK(next.records == 1);
    }
    CHECK(site.versions() == 6);
    site.wait_for_layers(2);
  }
  SUBCASE("one without changes makes no version, but takes its ordinal") {
    const auto none = site.save();
    REQUIRE_MESSAGE(none.kind == SnapshotState::Kind::saved, none.message);
    CHECK(none.records == 0);
    CHECK(site.versions() == 2);
    CHECK(site.freeze(site.request()).ordinal == 3);
  }
  SUBCASE("a coordinator that was started again still knows what is durable") {
    site.start_again();
    CHECK(site.state(asked, frozen).kind == SnapshotState::Kind::saved);
    CHECK(site.state(asked, frozen).version == saved.version);
    site.write("after", "restart.");
    const auto next = site.save();
    CHECK(next.records == 1);
    CHECK(site.saved_file(next.version, "after") == "restart.");
  }
}

TEST_CASE("a snapshot that was not held, or not confirmed, is none, and the next one covers it") {
  if (!support::available("mkntfs")) return;
  HostSite site;
  const auto late = site.request();
  const auto frozen = site.freeze(late);
  SUBCASE("programs were let go") {
    CHECK(site.state(late, frozen, false).kind == SnapshotState::Kind::unknown);
  }
  SUBCASE("nothing was heard any more") {}
  SUBCASE("the coordinator was started again") { site.start_again(); }
  CHECK(site.versions() == 1);
  const auto asked = site.request();
  const auto second = site.freeze(asked);
  CHECK(second.ordinal == 1);
  CHECK(site.state(late, frozen).kind == SnapshotState::Kind::unknown);
  const auto saved = site.wait(asked, second);
  REQUIRE_MESSAGE(saved.kind == SnapshotState::Kind::saved, saved.message);
  CHECK(site.saved_file(saved.version, "unsaved.txt") == "not sent");
  CHECK(site.versions() == 2);
  site.wait_for_layers(2);
}

TEST_CASE("whatever fails between freeze and answer, the next snapshot holds all of it") {
  if (!support::available("mkntfs")) return;
  HostSite site;
  for (const char* point : {"host.after_freeze", "host.before_extract", "host.before_commit",
                            "server.before_commit", "server.before_ack", "host.after_commit"}) {
    INFO(point);
    auto armed = std::make_shared<std::atomic<bool>>(true);
    site.start_again(Faults([armed, point](std::string_view at) -> Result<void> {
      if (at == point && armed->exchange(false)) return fail(ErrorCode::internal, "on purpose");
      return {};
    }));
    site.write(point, "changed.");
    const auto asked = site.request();
    const auto frozen = site.link->quiet(asked, kPatience);
    if (frozen) CHECK(site.wait(asked, *frozen).kind == SnapshotState::Kind::failed);
    CHECK_FALSE(armed->load());
    const auto saved = site.save();
    REQUIRE_MESSAGE(saved.kind == SnapshotState::Kind::saved, saved.message);
    CHECK(site.saved_file(saved.version, point) == "changed.");
  }
}

TEST_CASE("a snapshot of a session that was resumed since is given up; one of a superseded one is a fork") {
  if (!support::available("mkntfs")) return;
  HostSite site;
  const auto before = site.request();
  const auto frozen = site.freeze(before);
  SUBCASE("resumed") {
    const auto resumed = must(site.link->open(
        {"alice", kRoot,
         wire::ResumeInfo{site.session.session_secret, site.session.incarnation, frozen.ordinal}}));
    CHECK(site.wait(before, frozen).kind != SnapshotState::Kind::saved);
    const auto stale = site.link->quiet(site.request(), kPatience);
    REQUIRE_FALSE(stale);
    CHECK(stale.error().code == ErrorCode::stale);
    site.session.incarnation = resumed.incarnation;
    const auto saved = site.save();
    REQUIRE_MESSAGE(saved.kind == SnapshotState::Kind::saved, saved.message);
    CHECK_FALSE(saved.forked);
    CHECK(site.saved_file(saved.version, "unsaved.txt") == "not sent");
  }
  SUBCASE("handed over") {
    CHECK(site.wait(before, frozen).kind == SnapshotState::Kind::saved);
    must(site.link->hand_over(site.session.session_secret));
    site.write("late", "too late");
    auto asked = site.request();
    asked.below = frozen.snapshot;
    const auto saved = site.wait(asked, site.freeze(asked));
    REQUIRE_MESSAGE(saved.kind == SnapshotState::Kind::saved, saved.message);
    CHECK(saved.forked);
    CHECK(saved.records == 1);
  }
  SUBCASE("logged out, by a machine that was set back") {
    CHECK(site.wait(before, frozen).kind == SnapshotState::Kind::saved);
    must(site.link->close(site.session.session_secret));
    site.write("late", "too late");
    auto asked = site.request();
    asked.below = frozen.snapshot;
    const auto saved = site.wait(asked, site.freeze(asked));
    REQUIRE_MESSAGE(saved.kind == SnapshotState::Kind::saved, saved.message);
    CHECK(saved.forked);
    CHECK(saved.records == 1);
  }
}

TEST_CASE("a machine that is set back while its session goes on is saved beside what it had become") {
  if (!support::available("mkntfs")) return;
  HostSite site(section(false));
  const auto first = site.save();
  REQUIRE_MESSAGE(first.kind == SnapshotState::Kind::saved, first.message);
  const auto disks = std::filesystem::path(site.active).parent_path();
  const auto kept = std::filesystem::path(site.folder / "kept");
  std::filesystem::copy(disks, kept, std::filesystem::copy_options::recursive);
  site.write("later", "is gone.");
  const auto later = site.save();
  REQUIRE_MESSAGE(later.kind == SnapshotState::Kind::saved, later.message);
  CHECK_FALSE(later.forked);

  std::filesystem::remove_all(disks);
  std::filesystem::copy(kept, disks, std::filesystem::copy_options::recursive);
  SUBCASE("") {}
  SUBCASE("and the coordinator started again") { site.start_again(); }
  std::uint64_t version = 0;
  for (const char* name : {"one", "two", "three"}) {
    site.write(name, "kept too");
    const auto saved = site.save();
    REQUIRE_MESSAGE(saved.kind == SnapshotState::Kind::saved, saved.message);
    CHECK(saved.forked);
    CHECK(saved.records == 1);
    CHECK(site.save().records == 0);
    version = saved.version;
  }
  for (const char* name : {"one", "two", "three"}) CHECK(site.saved_file(version, name) == "kept too");
  CHECK(site.saved_file(version, "unsaved.txt") == "not sent");
  CHECK(site.has_file(later.version, "later"));
  CHECK_FALSE(site.has_file(version, "later"));
  CHECK(site.versions() == 6);
}

TEST_CASE(
    "a machine that is set back to before its first snapshot is saved beside what its session began with") {
  if (!support::available("mkntfs")) return;
  HostSite site(section(false));
  const auto disks = std::filesystem::path(site.active).parent_path();
  const auto kept = std::filesystem::path(site.folder / "kept");
  std::filesystem::copy(disks, kept, std::filesystem::copy_options::recursive);
  CHECK(site.save().kind == SnapshotState::Kind::saved);
  site.write("later", "is gone.");
  const auto later = site.save();
  REQUIRE_MESSAGE(later.kind == SnapshotState::Kind::saved, later.message);

  std::filesystem::remove_all(disks);
  std::filesystem::copy(kept, disks, std::filesystem::copy_options::recursive);
  SUBCASE("while the session goes on") {}
  SUBCASE("when it had ended") { must(site.link->close(site.session.session_secret)); }
  site.write("one", "kept too");
  const auto one = site.save();
  REQUIRE_MESSAGE(one.kind == SnapshotState::Kind::saved, one.message);
  CHECK(one.forked);
  CHECK(site.saved_file(one.version, "unsaved.txt") == "not sent");
  CHECK(site.saved_file(one.version, "one") == "kept too");
  CHECK_FALSE(site.has_file(one.version, "later"));
  site.write("two", "and this");
  const auto two = site.save();
  CHECK(two.records == 1);
  CHECK(site.saved_file(two.version, "one") == "kept too");
  CHECK(site.has_file(later.version, "later"));
}

TEST_CASE("a desktop whose disk is not known here, or whose machine nobody can freeze, is told so") {
  if (!support::available("mkntfs")) return;
  {
    CloneSite site;
    auto link = must(wire::TlsLink::create(site.identity()));
    const auto refused = link->snapshot_offer({});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::unsupported);
    CHECK(refused.error().to_string().find("has no section [vm]") != std::string::npos);
    auto other = site.link("desk-a", site.coordinator->address());
    const auto unknown = other->snapshot_offer({});
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().to_string().find("of no pool that this coordinator made") != std::string::npos);
  }
  HostSite site("[vm]\nadapter = \"command\"\nformats = [\"vhdx\"]\n");
  const auto refused = site.link->quiet(site.request(), kPatience);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().to_string().find("has no command vm.commands.freeze") != std::string::npos);
}

TEST_CASE("a secret of another desktop freezes nothing") {
  if (!support::available("mkntfs")) return;
  HostSite site;
  auto other = site.CloneSite::Site::link("desk-a", site.coordinator->address());
  const auto refused = other->quiet(site.request(), kPatience);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::denied);
  CHECK(site.layers() == 1);
}

TEST_CASE("a hypervisor that goes on in new files is followed, and what it leaves is found again") {
  if (!support::available("mkntfs")) return;
  HostSite site(
      "[vm]\nadapter = \"command\"\nformats = [\"vhdx\"]\nsnapshot_seconds = 0\n[vm.commands]\n"
      "freeze = [\"/bin/sh\", \"-c\", '\"$0\" disk create \"$1\" --parent \"$2\" >&2', \"" ROAMSTEAD_PROGRAM
      "\", \"{top}\", \"{disk}\"]\n");
  auto& files = os::real_file_system();
  const auto made = site.active;
  CHECK(site.save().records == 1);
  const auto top = compose::current_top(files, made);
  CHECK(top == site.disk("SALES-01.0001.vhdx"));
  CHECK(must(compose::next_top(files, made)) == site.disk("SALES-01.0002.vhdx"));
  write_on(top, std::string(kRoot) + "/second", as_bytes("second.."));
  site.start_again();  // it remembers nothing of that
  const auto saved = site.save();
  REQUIRE_MESSAGE(saved.kind == SnapshotState::Kind::saved, saved.message);
  CHECK(saved.records == 1);
  CHECK(site.saved_file(saved.version, "second") == "second..");
  const auto layers = must(compose::layers_of_clone(files, made));
  REQUIRE(layers.size() == 3);
  CHECK(layers[0].path == site.disk("SALES-01.0002.vhdx"));
  CHECK(layers[1].path == top);
  CHECK(layers[2].path == made);

  // What a desktop that is gone had not sent lies in the top.
  write_on(layers[0].path, std::string(kRoot) + "/third", as_bytes("third..."));
  site.link.reset();
  site.wait_until_gone();
  site.coordinator.reset();
  site.coordinator = site.start(std::chrono::seconds(1));
  std::this_thread::sleep_for(milliseconds(1100));
  const auto refreshed = site.must_do(site.of_clone("clone.refresh", kClone));
  REQUIRE(refreshed["saved"].size() == 1);
  CHECK(refreshed["saved"][0]["records"] == 1);
  CHECK(site.saved_file(refreshed["saved"][0]["version"], "third") == "third...");
  CHECK(site.layers() == 1);
  CHECK_FALSE(std::filesystem::exists(top));
}

TEST_CASE("while a desktop's disk is set back nothing is frozen, and its layers go with it") {
  if (!support::available("mkntfs")) return;
  HostSite site(section(false));
  CHECK(site.save().kind == SnapshotState::Kind::saved);
  site.write("unsent", "unsaved.");
  CHECK(site.layers() == 2);
  {
    const auto shut = site.coordinator->command_context().snapshots->shut(kClone);
    const auto refused = site.link->quiet(site.request(), kPatience);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::busy);
  }
  site.link.reset();
  site.wait_until_gone();
  auto refresh = site.of_clone("clone.refresh", kClone);
  refresh["discard_unsent"] = true;
  site.must_do(refresh);
  CHECK(site.layers() == 1);
  CHECK_FALSE(std::filesystem::exists(site.disk("SALES-01.0001.vhdx")));
}

TEST_CASE("a desktop that lets snapshot after snapshot come to nothing piles up no layers") {
  if (!support::available("mkntfs")) return;
  HostSite site;
  site.write("a.txt", "at first");
  for (std::size_t i = 0; i < 4 * HostSnapshots::kMostGivenUp; ++i) {
    const auto asked = site.request();
    const auto frozen = site.freeze(asked);
    if (i % 2 == 0) CHECK(site.state(asked, frozen, false).kind == SnapshotState::Kind::unknown);
    CHECK(site.layers() <= HostSnapshots::kMostGivenUp + 4);
  }
  const auto saved = site.save();
  REQUIRE_MESSAGE(saved.kind == SnapshotState::Kind::saved, saved.message);
  CHECK(site.saved_file(saved.version, "a.txt") == "at first");
  site.wait_for_layers(2);
}

TEST_CASE("where nobody merges layers a chain that could not be read any more is not made") {
  if (!support::available("mkntfs")) return;
  HostSite site(section(false));
  site.write("a.txt", "at first");
  CHECK(site.save().kind == SnapshotState::Kind::saved);
  Result<wire::FrozenReply> frozen = fail(ErrorCode::internal, "");
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    frozen = site.link->quiet(site.request(), kPatience);
    if (!frozen && frozen.error().code == ErrorCode::conflict) break;
    REQUIRE_MESSAGE((frozen || frozen.error().code == ErrorCode::busy), frozen.error().to_string());
    if (!frozen) std::this_thread::sleep_for(milliseconds(5));
  }
  REQUIRE_FALSE(frozen);
  CHECK(frozen.error().code == ErrorCode::conflict);
  CHECK(site.layers() == HostMachine::kMostFrozen + 1);
}

TEST_CASE("desktops are told when a snapshot is due, as often as their pool says") {
  if (!support::available("mkntfs")) return;
  HostSite site(section(true, 1));
  std::atomic<int> due{0};
  site.link->set_push_listener([&](const wire::Push& push) {
    if (push.kind == wire::PushKind::snapshot_due && push.session == site.session.session) ++due;
  });
  CHECK(must(site.link->snapshot_offer(site.session.session_secret)).interval_ms == 1000);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (due < 2 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(milliseconds(5));
  CHECK(due >= 2);
  site.link->set_push_listener(nullptr);
}

}  // namespace
}  // namespace roamstead::server
