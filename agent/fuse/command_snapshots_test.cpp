// Snapshots by commands, with the real `roamstead disk` as the administrator's command, and with scripts that
// go wrong.
#include "agent/core/command_snapshots.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "agent/core/session.h"
#include "agent/fuse/posix_volume.h"
#include "agent/testing/memory_link.h"
#include "tests/support/command.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

using support::must;
using support::run_quietly;
using testing::MemoryLink;
using Command = CommandSnapshots::Command;
constexpr auto kPatience = std::chrono::milliseconds(20'000);

os::FileSystem& files() { return os::real_file_system(); }

// A linked clone, and an administrator with scripts beside it.
struct Site {
  support::TemporaryDirectory directory;
  std::string top = directory / "a.vhdx";
  CommandSnapshots::Options options;

  Site() {
    must(vdisk::create_disk(files(), directory / "golden.vhdx", 64 << 20));
    must(vdisk::create_child(files(), directory / "golden.vhdx", top));
    options.freeze = {ROAMSTEAD_PROGRAM, "disk", "snapshot", "--json", "{top}"};
    options.merge = {ROAMSTEAD_PROGRAM, "disk", "merge", "{top}", "--layer", "{index}"};
    options.top = top;
    options.provenance_path = "ProgramData/Roamstead/provenance.journal";
  }
  std::string script(const std::string& name, const std::string& body) const {
    const auto path = directory / name;
    must(os::write_file_durably(files(), path, as_bytes("#!/bin/sh\n" + body + "\n")));
    ::chmod(path.c_str(), 0755);
    return path;
  }
  // Freezes, and prints what `print` says of $frozen and $top.
  Command freezing(const std::string& print) const {
    return {script("freeze", "top=\"" + top + "\"\nfrozen=$(\"" + ROAMSTEAD_PROGRAM +
                                 "\" disk snapshot --json \"$top\" | sed -n "
                                 "'s/.*\"frozen_path\": *\"\\([^\"]*\\)\".*/\\1/p')\n" +
                                 print)};
  }
  std::unique_ptr<CommandSnapshots> open() const { return must(CommandSnapshots::open(files(), options)); }
  Error refusal() const {
    auto snapshots = open();
    auto frozen = snapshots->freeze();
    REQUIRE_FALSE(frozen);
    return frozen.error();
  }
};

TEST_CASE(
    "the frozen layer is what the command says, one line or an object, and it is the one below the top") {
  Site site;
  SUBCASE("roamstead's own answer") {}
  SUBCASE("a line") { site.options.freeze = site.freezing("echo \"$frozen\""); }
  SUBCASE("a line of a disk whose top is not known") {
    site.options.freeze = site.freezing("echo \"$frozen\"");
    site.options.top = "";
  }
  SUBCASE("an object that says where the top is") {
    site.options.freeze = site.freezing("printf '{\"path\": \"%s\", \"top\": \"%s\"}' \"$frozen\" \"$top\"");
    site.options.top = "";
  }
  auto snapshots = site.open();
  CHECK(must(snapshots->frozen_layers()) == 0);
  const auto first = must(snapshots->freeze());
  CHECK(first.path == site.directory / "a.0001.vhdx");
  CHECK(first.id == must(vdisk::inspect(files(), first.path)).id);
  CHECK(must(snapshots->frozen_layers()) == 1);
  const auto second = must(snapshots->freeze());
  CHECK(second.path == site.directory / "a.0002.vhdx");
  CHECK(must(snapshots->frozen_layers()) == 2);
}

TEST_CASE("frozen layers are merged by the other command, or stay where there is none") {
  Site site;
  SUBCASE("told apart from the clone's parent by their names") {}
  SUBCASE("by the parent") { site.options.base = site.directory / "golden.vhdx"; }
  auto snapshots = site.open();
  must(snapshots->freeze());
  must(snapshots->freeze());
  const auto last = must(snapshots->freeze());
  must(snapshots->tidy(last.id));
  CHECK(must(snapshots->frozen_layers()) == 1);
  CHECK(must(vdisk::inspect(files(), last.path)).id == last.id);
  CHECK(must(vdisk::Disk::open(files(), site.top, vdisk::Access::read))->layers().size() == 3);

  site.options.merge = {};
  snapshots = site.open();
  must(snapshots->freeze());
  must(snapshots->tidy(must(snapshots->freeze()).id));
  CHECK(must(snapshots->frozen_layers()) == 3);
}

TEST_CASE("a merging command that does nothing, or too much, is found out") {
  Site site;
  site.options.merge = {site.script("merge", "true")};
  std::string expected = "as many layers as before";
  SUBCASE("nothing") {}
  SUBCASE("the wrong way round") {
    // The lower one's id stays, under the upper one's name.
    site.options.merge = {site.script("merge", "cp \"$2\" \"$1\""), "{upper}", "{lower}"};
    expected = "is gone";
  }
  SUBCASE("it fails") {
    site.options.merge = {site.script("merge", "echo the array is busy >&2; exit 4")};
    expected = "ended with status 4: the array is busy";
  }
  auto snapshots = site.open();
  must(snapshots->freeze());
  const auto last = must(snapshots->freeze());
  const auto tidied = snapshots->tidy(last.id);
  REQUIRE_FALSE(tidied);
  CHECK(tidied.error().to_string().find(expected) != std::string::npos);
}

TEST_CASE("layers are named as this machine sees them") {
  Site site;
  // The administrator's folder is a link to ours.
  const auto other = site.directory / "elsewhere";
  REQUIRE(::symlink(site.directory.path().c_str(), other.c_str()) == 0);
  site.options.here = site.directory.path();
  site.options.there = other;
  auto snapshots = site.open();
  const auto frozen = must(snapshots->freeze());
  CHECK(frozen.path == site.directory / "a.0001.vhdx");
  must(snapshots->tidy(must(snapshots->freeze()).id));
  CHECK(must(snapshots->frozen_layers()) == 1);
  site.options.freeze = {"/bin/echo", site.directory / "a.0001.vhdx"};
  const auto refused = site.refusal();
  CHECK(refused.to_string().find("is not in '" + other + "'") != std::string::npos);
}

TEST_CASE("what a freezing command prints is not believed") {
  Site site;
  must(must(vdisk::Disk::open(files(), site.top, vdisk::Access::write))->freeze());
  const auto frozen = site.directory / "a.0001.vhdx";
  const auto answer = [&](const std::string& text) {
    site.options.freeze = {"/usr/bin/printf", "%s", text};
    return site.refusal();
  };
  const auto holds = [](const Error& error, const std::string& text) {
    INFO(error.to_string());
    CHECK(error.to_string().find(text) != std::string::npos);
  };
  for (const char* text : {"", "a.0001.vhdx", "frozen:\n/a/b", "{", "{}", "{\"path\": 7}", "[\"/a\"]",
                           "\x1b/x", "{\"path\": \"/a\\u0000b\"}"}) {
    const auto error = answer(text);
    CHECK(error.code == ErrorCode::protocol);
    holds(error, "it printed");
  }
  site.options.freeze = {"/usr/bin/printf", "/\\377\\376"};
  CHECK(site.refusal().code == ErrorCode::protocol);
  CHECK(answer(site.directory / "nothing.vhdx").code == ErrorCode::not_found);
  CHECK(answer(frozen).code == ErrorCode::conflict);
  holds(answer(frozen), "was frozen before");
  holds(answer(site.directory / "golden.vhdx"), "was frozen before");
  holds(answer(site.top), "is not the layer below");
  must(vdisk::create_disk(files(), site.directory / "other.vhdx", 64 << 20));
  holds(answer(site.directory / "other.vhdx"), "is not the layer below");
  holds(answer("{\"path\": \"" + frozen + "\", \"top\": \"" + site.directory / "other.vhdx" + "\"}"),
        "was frozen before");
  must(os::write_file_durably(files(), site.directory / "rubbish.vhdx", Bytes(100'000)));
  CHECK_FALSE(answer(site.directory / "rubbish.vhdx").to_string().empty());
  site.options.freeze = {"/usr/bin/head", "-c", "200000", "/dev/zero"};
  holds(site.refusal(), "???...'");
  // The chain's top unknown: it still has to stand on what was frozen before.
  site.options.top = "";
  const auto list = site.directory / "list";
  must(os::write_file_durably(files(), list, as_bytes(frozen)));
  site.options.freeze = {"/bin/cat", list};
  auto snapshots = site.open();
  CHECK(must(snapshots->freeze()).path == frozen);
  CHECK(snapshots->freeze().error().to_string().find("was frozen before") != std::string::npos);
  must(os::write_file_durably(files(), list, as_bytes(site.directory / "other.vhdx")));
  CHECK(snapshots->freeze().error().to_string().find("does not stand on") != std::string::npos);
}

TEST_CASE("a freezing command that fails or hangs is an error that says so, and the next one covers both") {
  Site site;
  site.options.freeze = site.freezing("echo no room >&2; exit 9");
  auto failed = site.refusal();
  CHECK(failed.to_string().find("ended with status 9: no room") != std::string::npos);
  site.options.freeze = {site.script("hang", "sleep 60")};
  site.options.freeze_within = std::chrono::milliseconds(200);
  CHECK(site.refusal().code == ErrorCode::timeout);
  site.options.freeze = {site.directory / "no-such-program"};
  CHECK(site.refusal().code == ErrorCode::unavailable);
  site.options.freeze = site.freezing("echo \"$frozen\"");
  site.options.freeze_within = kPatience;
  CHECK(must(site.open()->freeze()).path == site.directory / "a.0002.vhdx");
}

TEST_CASE("commands that cannot be are refused before anybody logs in") {
  Site site;
  const auto refused = [&](const std::string& expected) {
    const auto opened = CommandSnapshots::open(files(), site.options);
    REQUIRE_FALSE(opened);
    INFO(opened.error().to_string());
    CHECK(opened.error().code == ErrorCode::invalid_argument);
    CHECK(opened.error().message.find(expected) != std::string::npos);
  };
  const auto good = site.options;
  site.options.freeze = {};
  refused("no command");
  site.options.freeze = {"freeze", "{top}"};
  refused("absolute path");
  site.options.freeze = {"/bin/x", "{upper}"};
  refused("'{upper}' stands for nothing");
  site.options = good;
  site.options.merge = {"C:\\x\\merge.cmd", "{disk}"};
  refused("'{disk}'");
  site.options.merge = {};
  site.options.top = "";
  refused("wants {top}");
  site.options = good;
  site.options.here = "Z:\\srv";
  refused("one side only");
}

TEST_CASE(
    "paths are mapped between Windows' names and others, whatever the separators and drive letters' case") {
  const PathMapping wine("Z:\\srv\\vm\\", "/srv/vm");
  CHECK(must(wine.from_there("/srv/vm/a.0001.vhdx")) == "Z:/srv/vm/a.0001.vhdx");
  CHECK(must(wine.to_there("z:\\SRV\\vm\\a.vhdx")) == "/srv/vm/a.vhdx");
  CHECK(wine.from_there("/srv/vmware/x").error().code == ErrorCode::invalid_argument);
  CHECK(wine.from_there("/srv/vm").error().code == ErrorCode::invalid_argument);
  const PathMapping share("\\\\host\\disks", "D:\\VMs");
  CHECK(must(share.from_there("d:\\vms\\A.avhdx")) == "//host/disks/A.avhdx");
  CHECK(must(share.to_there("//host/disks/A.avhdx")) == "D:\\VMs\\A.avhdx");
  CHECK(must(PathMapping().to_there("Z:/a/b")) == "Z:\\a\\b");
  CHECK(must(PathMapping().to_there("/a/b\\c")) == "/a/b\\c");
}

TEST_CASE("a session saves through the commands, from a volume in use") {
  if (::access("/dev/fuse", R_OK | W_OK) != 0 || ::geteuid() != 0 || !support::available("ntfs-3g") ||
      !support::available("mkntfs")) {
    std::cout << "skipped: needs root, /dev/fuse and ntfs-3g\n";
    return;
  }
  Site site;
  std::size_t most_layers = 2;
  SUBCASE("merging") {}
  SUBCASE("without merging") {
    site.options.merge = {};
    most_layers = 6;
  }
  const auto disk = site.directory / "disk", volume_path = site.directory / "volume";
  must(files().make_directories(disk));
  must(files().make_directories(volume_path));
  const std::string program = ROAMSTEAD_PROGRAM;
  REQUIRE(run_quietly(program + " disk mount " + site.top + " " + disk));
  REQUIRE(run_quietly("mkntfs -Q -F " + disk + "/disk.raw && ntfs-3g -o streams_interface=windows " + disk +
                      "/disk.raw " + volume_path));
  {
    MemoryLink link;
    link.add_file("Documents/old.txt", "old");
    auto volume = must(PosixVolume::attach(volume_path, "Users/alice"));
    auto snapshots = site.open();
    SessionConfig config;
    config.profile = "alice";
    config.profile_root = "Users/alice";
    config.change_log_path = site.directory / "change.log";
    config.snapshot_interval = std::chrono::milliseconds(0);
    auto session = must(Session::start(config, link, *volume, *snapshots));
    for (int i = 0; i < 5; ++i) {
      const auto name = "f" + std::to_string(i);
      must(os::write_file_durably(files(), volume_path + "/Users/alice/" + name,
                                  as_bytes("content of " + name)));
      CHECK(must(session->snapshot(true, kPatience)).records == 1);
    }
    CHECK(must(session->logout(kPatience)).final_records == 0);
    CHECK(link.commits().size() == 5);
    CHECK(link.commits()[3].content.at("f3:@0") == to_bytes("content of f3"));
    CHECK(must(snapshots->frozen_layers()) <= most_layers);
    if (site.options.merge.empty()) CHECK(must(snapshots->frozen_layers()) == 6);
  }
  CHECK(run_quietly("umount " + volume_path));
  CHECK(run_quietly("for i in $(seq 50); do fusermount3 -u " + disk + " && break; sleep 0.1; done"));
}

}  // namespace
}  // namespace roamstead::agent
