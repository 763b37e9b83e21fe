#include "coordinator/repository/repository.h"

#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "coordinator/repository/exporter.h"
#include "coordinator/repository/importer.h"
#include "coordinator/repository/test_content.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;

static std::vector<std::string> names(const Tree& tree, std::string_view directory,
                                      std::size_t limit = 1000) {
  std::vector<std::string> found;
  std::string after;
  for (;;) {
    auto part = tree.list(path(directory), after, limit).value();
    for (const auto& child : part) found.push_back(child.name);
    if (part.size() < limit) return found;
    after = part.back().name;
  }
}

TEST_CASE("what is committed is listed, read back, and there after reopening") {
  TestRepository test;
  std::mt19937_64 random(1);
  auto big = random_bytes(random, 1'500'000);
  BatchMaker maker;
  maker.directory("Documents");
  maker.file("Documents/note.txt", "hello");
  maker.file("Documents/big.bin", big).entry.metadata = {profile::kAttributeHidden, 5, 6, to_bytes("sd")};
  maker.file("empty", "");
  auto committed = test.commit(maker);
  REQUIRE_MESSAGE(committed, committed.error().to_string());
  CHECK(committed->number == 1);
  CHECK(committed->records == 4);
  CHECK(committed->new_bytes > big.size());
  for (int round = 0; round < 2; ++round) {
    auto tree = test.repository->tree(test.profile, 1).value();
    CHECK(names(*tree, "") == std::vector<std::string>{"Documents", "empty"});
    CHECK(names(*tree, "Documents", 1) == std::vector<std::string>{"big.bin", "note.txt"});
    CHECK(tree->lookup(path("Documents/big.bin"))->metadata.security == to_bytes("sd"));
    CHECK(test.read(1, "Documents/big.bin") == big);
    CHECK(test.read(1, "Documents/note.txt") == to_bytes("hello"));
    Bytes part(1000);
    REQUIRE(tree->read(path("Documents/big.bin"), "", 777'777, part));
    CHECK(std::equal(part.begin(), part.end(), big.begin() + 777'777));
    CHECK(tree->read(path("Documents/big.bin"), "", 1'499'500, part).error().code ==
          ErrorCode::invalid_argument);
    CHECK(tree->lookup(path("nothing")).error().code == ErrorCode::not_found);
    CHECK(test.repository->find_profile("alice")->head == 1);
    test.reopen();
  }
  auto report = test.repository->check({}).value();
  CHECK(report.problems.empty());
  CHECK(report.versions_checked == 1);
}

TEST_CASE("a batch that comes again is answered, not repeated, also after reopening") {
  TestRepository test;
  BatchMaker maker;
  maker.file("a", "A");
  auto first = test.commit(maker).value();
  CHECK(test.commit(maker, 0)->number == first.number);
  test.reopen();
  CHECK(test.commit(maker, 0)->number == first.number);
  CHECK(test.repository->versions(test.profile)->size() == 1);
}

TEST_CASE("an empty batch makes a version only when it is the last of its session") {
  TestRepository test;
  BatchMaker first;
  first.file("a", "A");
  REQUIRE(test.commit(first));
  BatchMaker empty;
  CHECK(test.commit(empty)->number == 1);
  CHECK(test.repository->versions(test.profile)->size() == 1);
  empty.batch.final = true;
  CHECK(test.commit(empty)->number == 2);
  CHECK(test.read(2, "a") == to_bytes("A"));
}

TEST_CASE("only the head can be continued, except by a fork, which leaves the head alone") {
  TestRepository test;
  BatchMaker first, second, late;
  first.file("a", "A");
  second.file("a", "AA").base = path("a");
  late.file("a", "late").base = path("a");
  REQUIRE(test.commit(first));
  REQUIRE(test.commit(second));
  auto stale = test.commit(late, 1);
  REQUIRE_FALSE(stale);
  CHECK(stale.error().code == ErrorCode::stale);
  CommitOrigin origin;
  origin.kind = VersionKind::fork;
  origin.desktop = "desktop-7";
  auto fork = test.commit(late, 1, origin);
  REQUIRE(fork);
  CHECK_FALSE(fork->on_head_line);
  CHECK(fork->parent == 1);
  CHECK(test.repository->find_profile("alice")->head == 2);
  CHECK(test.read(fork->number, "a") == to_bytes("late"));
  BatchMaker third;
  third.remove("a");
  CHECK(test.commit(third)->number == 4);
  auto versions = test.repository->versions(test.profile).value();
  REQUIRE(versions.size() == 4);
  CHECK(versions[2].desktop == "desktop-7");
  CHECK(versions[2].kind == VersionKind::fork);
}

TEST_CASE("an older version is restored as a new head") {
  TestRepository test;
  BatchMaker first, second;
  first.file("a", "A");
  second.remove("a");
  REQUIRE(test.commit(first));
  REQUIRE(test.commit(second));
  auto restored = test.repository->restore(test.profile, 1, {});
  REQUIRE(restored);
  CHECK(restored->number == 3);
  CHECK(restored->parent == 2);
  CHECK(restored->kind == VersionKind::restore);
  CHECK(test.read(3, "a") == to_bytes("A"));
  CHECK(test.repository->restore(test.profile, 99, {}).error().code == ErrorCode::not_found);
}

TEST_CASE("two versions are compared without reading what they share") {
  TestRepository test;
  BatchMaker first, second;
  first.directory("d");
  first.directory("same");
  first.file("same/x", "X");
  first.file("d/changed", "1");
  first.file("d/gone", "2");
  second.file("d/changed", "3").base = path("d/changed");
  second.remove("d/gone");
  second.directory("d/new");
  second.file("d/new/y", "Y");
  REQUIRE(test.commit(first));
  REQUIRE(test.commit(second));
  std::vector<std::string> found;
  auto before = test.repository->tree(test.profile, 1).value();
  auto after = test.repository->tree(test.profile, 2).value();
  auto visit = [&](Tree::Change change, const profile::ProfilePath& at, const profile::Entry&) {
    found.push_back((change == Tree::Change::added     ? "+"
                     : change == Tree::Change::removed ? "-"
                                                       : "*") +
                    at.text());
  };
  REQUIRE(before->diff(*after, visit));
  CHECK(found == std::vector<std::string>{"*d/changed", "-d/gone", "+d/new", "+d/new/y"});
}

TEST_CASE("a second user with the same files costs only structure") {
  TestRepository test;
  std::mt19937_64 random(5);
  BatchMaker first, second;
  auto big = random_bytes(random, 2'000'000);
  first.file("big", big);
  second.file("other name", big);
  auto bob = test.repository->create_profile("bob").value();
  CHECK(test.commit(first)->new_bytes > big.size());
  auto committed = test.repository->commit(bob.id, 0, second.batch, second.content, {});
  REQUIRE(committed);
  CHECK(committed->new_bytes < 10'000);
  CHECK(test.repository->statistics()->profiles == 2);
}

TEST_CASE("a profile's name is taken once, and looks like a name") {
  TestRepository test;
  CHECK(test.repository->create_profile("alice").error().code == ErrorCode::exists);
  CHECK(test.repository->create_profile("").error().code == ErrorCode::invalid_argument);
  CHECK(test.repository->create_profile("a/b").error().code == ErrorCode::invalid_argument);
  CHECK(test.repository->create_profile("a@12").error().code == ErrorCode::invalid_argument);
  CHECK(test.repository->create_profile("alice@example.com"));
  CHECK(test.repository->find_profile("carol").error().code == ErrorCode::not_found);
}

TEST_CASE("there is one writer at a time, and readers beside it that cannot write") {
  TestRepository test;
  CHECK(Repository::open(test.files, test.options).error().code == ErrorCode::busy);
  auto options = test.options;
  options.read_only = true;
  auto reader = Repository::open(test.files, options).value();
  BatchMaker maker;
  maker.file("a", "A");
  REQUIRE(test.commit(maker));
  CHECK(reader->find_profile("alice")->head == 1);
  CHECK(reader->tree(test.profile, 1).value()->lookup(path("a"))->size_bytes == 1);
  CHECK(reader->create_profile("x").error().code == ErrorCode::denied);
  CHECK(reader->commit(test.profile, 1, maker.batch, maker.content, {}).error().code == ErrorCode::denied);
}

TEST_CASE("commits of many profiles at once are all there") {
  TestRepository test;
  constexpr int kThreads = 6, kCommits = 12;
  std::vector<ProfileInfo> profiles;
  for (int i = 0; i < kThreads; ++i)
    profiles.push_back(test.repository->create_profile("user" + std::to_string(i)).value());
  std::vector<BatchMaker> makers(kThreads * kCommits);
  for (int i = 0; i < kThreads * kCommits; ++i)
    makers[static_cast<std::size_t>(i)].file("file" + std::to_string(i), "content " + std::to_string(i % 5));
  std::atomic<int> failures{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (int c = 0; c < kCommits; ++c) {
          auto& maker = makers[static_cast<std::size_t>(t * kCommits + c)];
          auto done = test.repository->commit(profiles[static_cast<std::size_t>(t)].id,
                                              static_cast<std::uint64_t>(c), maker.batch, maker.content, {});
          if (!done || !test.repository->tree(profiles[static_cast<std::size_t>(t)].id, done->number))
            ++failures;
        }
      });
  }
  CHECK(failures == 0);
  test.reopen();
  for (const auto& profile : profiles) CHECK(test.repository->versions(profile.id)->size() == kCommits);
  CHECK(test.repository->check({})->problems.empty());
}

TEST_CASE("a directory is imported with what the file system tells of it, and exported again") {
  TestRepository test;
  support::TemporaryDirectory source;
  namespace fs = std::filesystem;
  fs::create_directories(source / "Documents/ü");
  std::ofstream(source / "Documents/ü/x.txt") << "hello";
  std::ofstream(source / "empty");
  fs::create_hard_link(source / "Documents/ü/x.txt", source / "link");
  fs::create_symlink("Documents/ü", source / "inside");
  fs::create_symlink("/etc", source / "outside");
  auto imported = import_directory(*test.repository, "alice", source.path(), {});
  REQUIRE_MESSAGE(imported, imported.error().to_string());
  CHECK(imported->version.kind == VersionKind::import);
  CHECK(imported->files == 4);
  CHECK(imported->directories == 3);
  REQUIRE(imported->skipped.size() == 1);
  CHECK(imported->skipped[0].find("outside") != std::string::npos);
  auto tree = test.repository->tree(test.profile, 1).value();
  auto entry = tree->lookup(path("Documents/ü/x.txt")).value();
  CHECK(entry.link_group != 0);
  CHECK(tree->lookup(path("link"))->link_group == entry.link_group);
  CHECK(tree->lookup(path("inside"))->link_target == "Documents/ü");
  CHECK(entry.metadata.written_100ns > 130'000'000'000'000'000);
  CHECK(test.read(1, "link") == to_bytes("hello"));

  support::TemporaryDirectory target;
  auto exported = export_tree(*tree, target / "out", {});
  REQUIRE(exported);
  CHECK(exported->bytes == 10);
  auto late = fs::last_write_time(source / "link") - fs::last_write_time(target / "out/link");
  CHECK(late >= std::chrono::nanoseconds(0));
  CHECK(late < std::chrono::nanoseconds(100));
  CHECK(fs::read_symlink(target / "out/inside") == "Documents/ü");
  CHECK(export_tree(*tree, target / "out", {}).error().code == ErrorCode::exists);

  fs::remove(source / "link");
  CHECK(import_directory(*test.repository, "alice", source.path(), {})->version.number == 2);
  CHECK(test.repository->tree(test.profile, 2).value()->lookup(path("link")).error().code ==
        ErrorCode::not_found);
  CHECK(import_directory(*test.repository, "alice", source / "empty", {}).error().code ==
        ErrorCode::invalid_argument);
}

TEST_CASE("whatever the umask, state directory and catalog are for their owner only") {
  auto mask = ::umask(0);
  {
    TestRepository test;
    auto catalog = std::filesystem::path(test.options.state_directory) / "catalog.db";
    for (const auto& each : {catalog, catalog.parent_path()}) {
      auto others = std::filesystem::perms::group_all | std::filesystem::perms::others_all;
      CHECK_MESSAGE((std::filesystem::status(each).permissions() & others) == std::filesystem::perms::none,
                    each);
    }
    REQUIRE(Repository::rebuild_catalog(test.files, {test.options.directory, test.place / "new", false}));
    CHECK((std::filesystem::status(test.place / "new").permissions() & std::filesystem::perms::others_all) ==
          std::filesystem::perms::none);
  }
  ::umask(mask);
}
