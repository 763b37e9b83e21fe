// Interception on a plain directory as the volume: the test does what a program does after it was let go on.
#include "agent/core/interception.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/core/session.h"
#include "agent/fuse/posix_volume.h"
#include "agent/testing/hive_model.h"
#include "agent/testing/memory_link.h"
#include "agent/testing/scripted_snapshots.h"
#include "common/base/text.h"
#include "common/registry/test_hive.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::agent {
namespace {

namespace fs = std::filesystem;
using intercept::Op;
using profile::KeyPath;
using support::must;
using testing::MemoryLink;
using testing::ScriptedSnapshots;

constexpr std::uint32_t kOk = intercept::kGoOn;

class HeapMemory final : public StateMapMemory {
 public:
  Result<MutableByteView> make_header(std::size_t bytes) override { return take(bytes); }
  Result<MutableByteView> make_table(std::uint32_t, std::size_t bytes) override {
    return table_ = take(bytes);
  }
  void drop_table(std::uint32_t) override {}
  state_map::TableView table() const { return state_map::view_table(table_.data(), table_.size()); }

 private:
  MutableByteView take(std::size_t bytes) { return all_.emplace_back(bytes); }
  std::vector<std::vector<std::byte>> all_;
  MutableByteView table_;
};

support::KeyModel some_keys() {
  support::KeyModel model;
  for (const char* path : {"Software\\Vendor\\App", "Software\\Vendor\\Other", "Console", "Environment"})
    for (auto at = KeyPath::parse(path).value();; at = at.parent()) {
      model.set_value(at, "name", 1, to_bytes(as_bytes("v\0")));
      model.at(at).entry = {{}, registry::test::kTime, registry::test::descriptor()};
      if (at.is_root()) break;
    }
  return model;
}

struct Desktop {
  support::TemporaryDirectory directory;
  MemoryLink link;
  ScriptedSnapshots snapshots;
  std::unique_ptr<PosixVolume> volume;
  std::unique_ptr<Session> session;
  HeapMemory memory;
  std::unique_ptr<StateMapWriter> map;
  std::unique_ptr<Interception> interception;
  int changes = 0;
  std::vector<std::string> touched_keys;

  Desktop() {
    link.add_file("Documents/a.txt", std::string(70'000, 'a'));
    link.add_file("Documents/b.txt", "bb");
    link.add_file("Documents/Deep/c.txt", "ccc");
    link.add_file("Other/d.txt", "dddd");
    link.add_link("Shortcut", profile::EntryKind::junction, "Documents/Deep");
    link.add_hive("NTUSER.DAT", some_keys());
  }
  void start(std::chrono::milliseconds patience = std::chrono::milliseconds(200)) {
    volume = must(PosixVolume::attach(directory.path(), "Users/alice"));
    SessionConfig config;
    config.profile = "alice";
    config.profile_root = "Users/alice";
    config.change_log_path = directory / "change.log";
    config.snapshot_interval = std::chrono::milliseconds(0);
    config.loader.patience = patience;
    session = must(Session::start(config, link, *volume, snapshots));
    map = must(StateMapWriter::create(
        memory, {{0, false, u"\\??\\C:\\Users\\alice"}, {1, true, u"\\Registry\\User\\S-1"}}, 1, 1000));
    InterceptionConfig how;
    how.profile_root = "Users/alice";
    how.key_roots[1] = {profile::hive_paths().front(), {}};
    how.note_change = [this] { ++changes; };
    how.note_key = [this](const profile::ProfilePath&, const KeyPath& key) {
      touched_keys.push_back(key.text());
    };
    interception = std::make_unique<Interception>(session->loader(), *volume, *map, how);
  }

  std::uint32_t ask(Op op, const std::u16string& name, const std::u16string& second = {},
                    std::uint16_t flags = 0) {
    Interception::Caller caller(*interception);
    return ask(caller, op, name, second, flags);
  }
  std::uint32_t ask(Interception::Caller& caller, Op op, const std::u16string& name,
                    const std::u16string& second = {}, std::uint16_t flags = 0) {
    InterceptRequest request;
    request.op = op;
    request.flags = flags;
    request.root = op == Op::key || op == Op::subtree ? 1 : 0;
    request.name = name;
    request.second = second;
    const auto message = encode_request(request);  // as the pipe brings it
    return interception->answer(caller, must(parse_request(message)));
  }
  std::uint32_t state(const std::u16string& name, std::uint32_t root = 0) const {
    return state_map::look_up(
        memory.table(),
        state_map::hash_name(map->header().seed, root, name.data(), name.size()) & ~std::uint64_t{15});
  }
  std::string at(const std::string& path) const { return directory.path() + "/Users/alice/" + path; }
  std::string read(const std::string& path) const {
    std::ifstream file(at(path), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  bool exists(const std::string& path) const { return fs::exists(fs::symlink_status(at(path))); }
};

TEST_CASE("directories come with names, content with reading, nothing else with either") {
  Desktop desktop;
  desktop.start();
  CHECK_FALSE(desktop.exists("Documents"));
  CHECK(desktop.ask(Op::names, u"Documents\\a.txt") == kOk);
  CHECK(desktop.exists("Documents/a.txt"));
  CHECK(desktop.exists("Other"));
  CHECK_FALSE(desktop.exists("Other/d.txt"));
  CHECK_FALSE(desktop.exists("Documents/Deep/c.txt"));
  CHECK((desktop.read("Documents/a.txt") == std::string(70'000, '\0')));
  CHECK(desktop.state(u"documents\\A.TXT") == state_map::kSettled);
  CHECK((desktop.state(u"Documents") & state_map::kLoaded) != 0);
  CHECK((desktop.state(u"") & state_map::kLoaded) != 0);
  CHECK(desktop.state(u"Other") == 0);

  CHECK(desktop.ask(Op::content, u"Documents\\a.txt") == kOk);
  CHECK((desktop.read("Documents/a.txt") == std::string(70'000, 'a')));
  CHECK(desktop.state(u"Documents\\a.txt") == (state_map::kSettled | state_map::kLoaded));
  CHECK(desktop.read("Documents/b.txt") == std::string(2, '\0'));
  CHECK(desktop.ask(Op::content, u"Documents\\Deep") == kOk);
  CHECK(desktop.exists("Documents/Deep/c.txt"));
  CHECK(desktop.ask(Op::content, u"") == kOk);

  const auto lists = desktop.link.lists.load();
  CHECK(desktop.ask(Op::names, u"Documents\\nothing\\x") == kOk);
  CHECK(desktop.ask(Op::content, u"nothing") == kOk);
  CHECK(desktop.ask(Op::names, u"Documents\\b.txt\\x") == kOk);
  CHECK(desktop.link.lists == lists);
  CHECK((desktop.state(u"nothing") & state_map::kSettled) != 0);
  CHECK(desktop.changes == 0);
}

TEST_CASE("who may write finds the file loaded and its tags recorded") {
  Desktop desktop;
  desktop.start();
  CHECK(desktop.ask(Op::write, u"Documents\\a.txt") == kOk);
  CHECK(desktop.changes == 1);
  CHECK(desktop.state(u"Documents\\a.txt") ==
        (state_map::kSettled | state_map::kLoaded | state_map::kRecorded));
  // Zeros over a loaded block count as the program's, after a crash too.
  { std::ofstream file(desktop.at("Documents/a.txt"), std::ios::binary | std::ios::trunc); }
  fs::resize_file(desktop.at("Documents/a.txt"), 70'000);
  desktop.session.reset();
  desktop.start();
  CHECK(desktop.ask(Op::content, u"Documents\\a.txt") == kOk);
  CHECK((desktop.read("Documents/a.txt") == std::string(70'000, '\0')));
  CHECK(desktop.ask(Op::write, u"Documents\\made here.txt") == kOk);
  CHECK(desktop.ask(Op::write, u"Documents") == kOk);
  desktop.interception->forget_writers();
  CHECK(desktop.state(u"Documents\\a.txt") == (state_map::kSettled | state_map::kLoaded));
}

TEST_CASE("a coordinator that is away is an error worth another attempt, never 'not found'") {
  Desktop desktop;
  desktop.start();
  CHECK(desktop.ask(Op::names, u"Documents\\a.txt") == kOk);
  desktop.link.away = true;
  CHECK(desktop.ask(Op::names, u"Other\\d.txt") == intercept::kRetry);
  CHECK(desktop.ask(Op::names, u"Other\\not there") == intercept::kRetry);
  CHECK(desktop.ask(Op::content, u"Documents\\a.txt") == intercept::kRetry);
  CHECK(desktop.ask(Op::write, u"Documents\\a.txt") == intercept::kRetry);
  CHECK(desktop.ask(Op::content, u"Other") == intercept::kRetry);
  CHECK(desktop.ask(Op::remove, u"Other") == intercept::kRetry);
  CHECK(desktop.ask(Op::key, u"Software\\Vendor") == intercept::kRetry);
  CHECK(desktop.state(u"Other\\d.txt") == 0);
  CHECK(desktop.state(u"Software\\Vendor", 1) == 0);
  CHECK(desktop.ask(Op::names, u"Documents\\b.txt") == kOk);
  CHECK(desktop.interception->counters().retries == 7);
  desktop.link.away = false;
  CHECK(desktop.ask(Op::content, u"Other\\d.txt") == kOk);
  CHECK(desktop.read("Other/d.txt") == "dddd");
}

TEST_CASE("names out of the profile are refused, and links lead nowhere else") {
  Desktop desktop;
  desktop.start();
  for (const std::u16string& name :
       {std::u16string(u".."), std::u16string(u"..\\..\\etc"), std::u16string(u"Documents\\..\\Other"),
        std::u16string(u".\\x"), std::u16string(u"Documents\\\\a.txt"), std::u16string(u"\\x"),
        std::u16string(u"Documents\\"), std::u16string(u"Documents\\.")})
    CHECK(desktop.ask(Op::content, name) == intercept::kBadName);
  CHECK(desktop.link.lists <= 1);
  // What NTFS cannot hold is not in the profile: the volume says so.
  CHECK(desktop.ask(Op::content, u"Documents:x\\a") == kOk);
  CHECK(desktop.ask(Op::content, std::u16string(300, u'x')) == kOk);
  CHECK(desktop.ask(Op::names, u"Documents\\*.txt") == kOk);
  CHECK((desktop.state(u"Documents\\*.txt") & state_map::kSettled) != 0);
  CHECK(desktop.ask(Op::content, u"Shortcut\\c.txt") == kOk);
  CHECK(desktop.read("Documents/Deep/c.txt") == "ccc");
  // A program's own link, to something that is not in the profile.
  fs::create_directory(desktop.directory / "elsewhere");
  std::ofstream(desktop.directory / "elsewhere/secret") << "secret";
  fs::create_directory_symlink(desktop.directory / "elsewhere", desktop.at("out"));
  CHECK(desktop.ask(Op::write, u"out\\secret") == kOk);
  CHECK(desktop.ask(Op::remove, u"out\\secret") == kOk);
  CHECK((desktop.state(u"out\\secret") & state_map::kLoaded) == 0);
}

TEST_CASE("links that lead to each other end") {
  Desktop desktop;
  desktop.link.add_link("one", profile::EntryKind::junction, "two");
  desktop.link.add_link("two", profile::EntryKind::junction, "one");
  desktop.start();
  CHECK(desktop.ask(Op::content, u"one\\x") == kOk);
  CHECK(desktop.ask(Op::names, u"one", {}, intercept::kLinkItself) == kOk);
}

TEST_CASE("what is renamed to where other rules hold is loaded first; a folder is copied") {
  Desktop desktop;
  desktop.link.rules =
      must(profile::Rules::make({{profile::RuleAction::exclude, "Out", {}, profile::kAnySize, ""}}))
          .canonical();
  desktop.start();
  CHECK(desktop.ask(Op::names, u"Documents\\a.txt") == kOk);
  fs::create_directory(desktop.at("Out"));
  CHECK(desktop.ask(Op::rename, u"Documents\\a.txt", u"Documents\\c.txt") == kOk);
  CHECK(desktop.read("Documents/a.txt") != std::string(70'000, 'a'));
  CHECK(desktop.ask(Op::rename, u"Documents\\a.txt", u"Out\\a.txt") == kOk);
  CHECK(desktop.read("Documents/a.txt") == std::string(70'000, 'a'));
  CHECK(desktop.ask(Op::rename, u"Documents\\Deep", u"Out\\Deep") == intercept::kOtherVolume);
  CHECK(desktop.ask(Op::rename, u"Documents\\Deep", u"Other\\Deep") == kOk);
}

TEST_CASE("a rename takes back what the map said of either name") {
  Desktop desktop;
  desktop.start();
  CHECK(desktop.ask(Op::content, u"Documents\\a.txt") == kOk);
  CHECK(desktop.ask(Op::names, u"Documents\\b.txt") == kOk);
  Interception::Caller program(*desktop.interception);
  CHECK(desktop.ask(program, Op::rename, u"Documents\\b.txt", u"Documents\\a.txt") == kOk);
  CHECK(desktop.state(u"Documents\\a.txt") == 0);
  CHECK(desktop.map->header().renames == 1);
  CHECK(desktop.ask(Op::content, u"Documents\\a.txt") ==
        kOk);  // who looks meanwhile is served, and asks again
  CHECK(desktop.state(u"Documents\\a.txt") == 0);
  fs::rename(desktop.at("Documents/b.txt"), desktop.at("Documents/a.txt"));
  CHECK(desktop.ask(program, Op::rename_done, u"", u"") == kOk);
  CHECK(desktop.map->header().renames == 0);
  CHECK(desktop.ask(Op::content, u"Documents\\a.txt") == kOk);
  CHECK(desktop.read("Documents/a.txt") == "bb");

  CHECK(desktop.ask(Op::content, u"Documents\\Deep") == kOk);
  CHECK(desktop.ask(program, Op::rename, u"Other", u"New") == kOk);
  CHECK(desktop.map->known() == 0);  // a directory: nobody knows how the names below were spelt
  fs::rename(desktop.at("Other"), desktop.at("New"));
  { Interception::Caller other(*desktop.interception); }  // another's end changes nothing
  CHECK(desktop.map->header().renames == 1);
  CHECK(desktop.ask(program, Op::rename_done, u"", u"") == kOk);
  CHECK(desktop.ask(Op::content, u"New\\d.txt") == kOk);
  CHECK(desktop.read("New/d.txt") == "dddd");
  {
    Interception::Caller killed(*desktop.interception);
    CHECK(desktop.ask(killed, Op::rename, u"New", u"Newer") == kOk);
  }
  CHECK(desktop.map->header().renames == 0);
}

TEST_CASE("what leaves the profile is loaded first; directories are copied out") {
  Desktop desktop;
  desktop.start();
  CHECK(desktop.ask(Op::rename, u"Other\\d.txt", u"", intercept::kToOutside) == kOk);
  CHECK(desktop.read("Other/d.txt") == "dddd");
  CHECK(desktop.ask(Op::rename, u"Documents", u"", intercept::kToOutside) == intercept::kOtherVolume);
  CHECK(desktop.ask(Op::link, u"Documents\\b.txt", u"Documents\\second.txt") == kOk);
  CHECK(desktop.read("Documents/b.txt") == "bb");
  CHECK(desktop.ask(Op::rename, u"", u"Documents\\from elsewhere", intercept::kFromOutside) == kOk);
}

TEST_CASE("a directory that is deleted is known to be empty") {
  Desktop desktop;
  desktop.start();
  CHECK(desktop.ask(Op::remove, u"Other") == kOk);
  CHECK(desktop.exists("Other/d.txt"));
  CHECK(desktop.ask(Op::remove, u"Other\\d.txt") == kOk);
  CHECK(desktop.read("Other/d.txt") == std::string(4, '\0'));  // nothing is loaded to be deleted
}

TEST_CASE("a program's folder is there before it is started") {
  Desktop desktop;
  desktop.link.add_file("Apps/tool/tool.exe", "program");
  desktop.link.add_file("Apps/tool/part.DLL", "library");
  desktop.link.add_file("Apps/tool/data.bin", "data");
  desktop.start();
  CHECK(desktop.ask(Op::image, u"Apps\\tool\\tool.exe") == kOk);
  CHECK(desktop.read("Apps/tool/tool.exe") == "program");
  CHECK(desktop.read("Apps/tool/part.DLL") == "library");
  CHECK(desktop.read("Apps/tool/data.bin") == std::string(4, '\0'));
  CHECK(desktop.ask(Op::image, u"Apps\\tool\\missing.exe") == kOk);
}

TEST_CASE("keys come with their values and the names below, subtrees whole") {
  Desktop desktop;
  desktop.start();
  const auto live = [&] {
    const auto bytes = desktop.read("NTUSER.DAT");
    return testing::model_of_hive(as_bytes(bytes));
  };
  CHECK(desktop.ask(Op::key, u"Software\\Vendor") == kOk);
  CHECK((desktop.state(u"software\\VENDOR", 1) & state_map::kLoaded) != 0);
  CHECK(live().find(KeyPath::parse("Software\\Vendor").value())->values.size() == 1);
  CHECK(live().find(KeyPath::parse("Console").value())->values.empty());
  CHECK(desktop.ask(Op::key, u"Software\\Nobody\\Here") == kOk);
  CHECK(desktop.ask(Op::subtree, u"") == kOk);
  CHECK((desktop.state(u"", 1) & state_map::kSubtree) != 0);
  CHECK(live().find(KeyPath::parse("Console").value())->values.size() == 1);
  CHECK(desktop.ask(Op::key, u"bad\\\\name") == kOk);  // no key can have it: the registry says so
  // What programs looked into and the profile has: for the next log-in.
  CHECK(desktop.touched_keys == std::vector<std::string>{"Software\\Vendor", ""});
}

TEST_CASE("a profile that is open elsewhere is read, not changed") {
  Desktop desktop;
  desktop.start();
  desktop.session->loader().gate().refuse_programs(true);
  CHECK(desktop.ask(Op::content, u"Documents\\a.txt") == kOk);
  for (const auto op : {Op::write, Op::remove, Op::link, Op::rename})
    CHECK(desktop.ask(op, u"Documents\\a.txt", u"x") == intercept::kWriteProtected);
}

TEST_CASE("a program that never loads gets names, and no zeros") {
  Desktop desktop;
  desktop.start();
  Interception::Caller indexer(*desktop.interception);
  indexer.never_loads = true;
  CHECK(desktop.ask(indexer, Op::content, u"Documents") == kOk);
  CHECK(desktop.ask(indexer, Op::content, u"Documents\\a.txt") == intercept::kRefused);
  CHECK(desktop.ask(Op::content, u"Documents\\a.txt") == kOk);
  CHECK(desktop.ask(indexer, Op::content, u"Documents\\a.txt") == kOk);
}

TEST_CASE("many threads that want the same are served from one fetch") {
  Desktop desktop;
  desktop.start(std::chrono::milliseconds(5000));
  desktop.link.delay_ms = 20;
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 16; ++i)
    threads.emplace_back([&] {
      if (desktop.ask(Op::content, u"Documents\\a.txt") == kOk && desktop.read("Documents/a.txt")[5] == 'a')
        ++good;
    });
  for (auto& thread : threads) thread.join();
  CHECK(good == 16);
  CHECK(desktop.link.reads == 1);
}

TEST_CASE("after the end nobody is told anything, and nobody waits") {
  Desktop desktop;
  desktop.start(std::chrono::milliseconds(5000));
  desktop.link.delay_ms = 100;
  std::uint32_t last = 1;
  std::thread waiting([&] { last = desktop.ask(Op::content, u"Documents\\a.txt"); });
  while (desktop.interception->counters().questions == 0) std::this_thread::yield();
  desktop.interception->close();
  desktop.session.reset();
  waiting.join();
  CHECK(last == kOk);
  CHECK(desktop.ask(Op::names, u"Documents\\a.txt") == intercept::kRetry);
}

TEST_CASE("hostile questions are refused as a whole") {
  auto random = support::seeded_random();
  InterceptRequest request;
  request.op = Op::rename;
  request.name = u"Documents\\a.txt";
  request.second = u"b";
  const auto good = encode_request(request);
  CHECK(must(parse_request(good)).second == u"b");
  for (std::size_t size = 0; size < good.size(); ++size)
    CHECK_FALSE(parse_request(ByteView(good).first(size)));
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = good;
    for (auto left = 1 + random() % 4; left != 0; --left)
      bytes[random() % sizeof(intercept::Request)] = static_cast<std::byte>(random());
    const auto parsed = parse_request(bytes);
    if (!parsed) continue;
    ++accepted;
    REQUIRE(parsed->name.size() + parsed->second.size() == 16);
    REQUIRE(parsed->root < state_map::kMaxRoots);
  }
  CHECK(accepted > 0);
}

}  // namespace
}  // namespace roamstead::agent
