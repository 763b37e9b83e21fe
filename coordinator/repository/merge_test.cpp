// Three-way merges: each rule by an example, then random trees and hives against a model.
#include "coordinator/repository/merge.h"

#include <set>

#include "coordinator/repository/forks.h"
#include "coordinator/repository/test_content.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;
using Kind = MergeConflict::Kind;

namespace {

constexpr const char* kHive = "NTUSER.DAT";

// A profile with a first version, changed on both sides of a fork.
struct MergeFixture : TestRepository {
  std::uint64_t base = 0, fork = 0;

  void begin(BatchMaker& first) { base = commit(first).value().number; }
  std::uint64_t change_ours(BatchMaker& batch) { return commit(batch).value().number; }
  void change_theirs(BatchMaker& batch) {
    CommitOrigin origin{VersionKind::fork, "desk-b", {}, 1};
    auto committed = commit(batch, fork == 0 ? base : fork, origin);
    REQUIRE_MESSAGE(committed, committed.error().to_string());
    fork = committed->number;
  }
  MergeResult merge(bool dry_run = false) {
    auto merged = repository->merge(profile, fork, dry_run, {});
    REQUIRE_MESSAGE(merged, merged.error().to_string());
    return *merged;
  }
  std::uint64_t head() { return repository->find_profile("alice")->head; }
  std::string text(std::string_view at) { return std::string(as_text(read(head(), at))); }
  std::set<std::string> names(std::string_view folder = "") {
    std::set<std::string> found;
    auto entries = repository->tree(profile, head()).value()->list(path(folder), "", 1000).value();
    for (auto& entry : entries) found.insert(entry.name);
    return found;
  }
  // "key : value" -> data, as text.
  std::map<std::string, std::string> values() {
    std::map<std::string, std::string> found;
    auto tree = repository->tree(profile, head()).value();
    auto all = tree->keys(path(kHive), {}, profile::KeyScope::subtree, "", 8u << 20).value();
    for (auto& key : all.keys) {
      found[key.path.text()] = "";
      for (auto& value : key.values) {
        Bytes data(static_cast<std::size_t>(value.size_bytes));
        REQUIRE(tree->read_value(path(kHive), key.path, value.name, 0, data));
        found[key.path.text() + " : " + value.name] = std::string(as_text(data));
      }
    }
    return found;
  }
};

BatchMaker with_files(const std::map<std::string, std::string>& files) {
  BatchMaker maker;
  std::set<std::string> folders;
  for (const auto& [name, content] : files)
    if (auto slash = name.find('/');
        slash != std::string::npos && folders.insert(name.substr(0, slash)).second)
      maker.directory(name.substr(0, slash));
  for (const auto& [name, content] : files) maker.file(name, content);
  return maker;
}

BatchMaker without(const std::vector<std::string>& names) {
  BatchMaker maker;
  for (const auto& name : names) maker.remove(name);
  return maker;
}

std::string copy_of(const std::string& name, std::uint64_t version) {
  auto dot = name.rfind('.');
  return name.substr(0, dot) + " (conflict, desk-b, version " + std::to_string(version) + ")" +
         (dot == std::string::npos ? "" : name.substr(dot));
}

}  // namespace

TEST_CASE("what only one side changed is taken from it; what both changed alike is no conflict") {
  MergeFixture f;
  auto first = with_files({{"mine.txt", "1"}, {"theirs.txt", "1"}, {"both.txt", "1"}, {"gone.txt", "1"}});
  f.begin(first);
  auto ours = with_files({{"mine.txt", "2"}, {"both.txt", "same"}, {"new here", "n"}});
  f.change_ours(ours);
  auto theirs = with_files({{"theirs.txt", "2"}, {"both.txt", "same"}, {"new there/x", "t"}});
  theirs.remove("gone.txt");
  f.change_theirs(theirs);
  auto looked = f.merge(true);
  CHECK(!looked.version);
  CHECK(f.head() == 2);
  auto merged = f.merge();
  CHECK(merged.conflicts.empty());
  CHECK(merged.base == 1);
  CHECK(merged.head == 2);
  CHECK(merged.records == looked.records);
  CHECK(merged.version->kind == VersionKind::merge);
  CHECK(merged.version->merged == f.fork);
  CHECK(f.names() == std::set<std::string>{"mine.txt", "theirs.txt", "both.txt", "new here", "new there"});
  CHECK(f.text("mine.txt") == "2");
  CHECK(f.text("theirs.txt") == "2");
  CHECK(f.text("both.txt") == "same");
  CHECK(f.text("new there/x") == "t");
}

TEST_CASE("where both changed a file ours stays and theirs is a copy beside it, listed with the version") {
  MergeFixture f;
  auto first = with_files({{"report.docx", "1"}, {"d/noext", "1"}});
  f.begin(first);
  auto ours = with_files({{"report.docx", "ours"}, {"d/noext", "ours"}});
  f.change_ours(ours);
  auto theirs = with_files({{"report.docx", "theirs"}, {"d/noext", "theirs"}, {"added", "theirs"}});
  f.change_theirs(theirs);
  auto late = with_files({{copy_of("report.docx", f.fork), "in the way"}, {"added", "ours"}});
  f.change_ours(late);
  auto merged = f.merge();
  auto copy = copy_of("report.docx", f.fork);
  copy.insert(copy.rfind(')'), ", 2");
  CHECK(f.text("report.docx") == "ours");
  CHECK(f.text(copy) == "theirs");
  CHECK(f.text(copy_of("d/noext", f.fork)) == "theirs");
  CHECK(f.text("added") == "ours");
  CHECK(f.text(copy_of("added", f.fork)) == "theirs");
  REQUIRE(merged.conflicts.size() == 3);
  CHECK(merged.conflicts[2] == MergeConflict{Kind::both_changed, "report.docx", copy});
  CHECK(merged.version->held_back.size() == 3);
}

TEST_CASE("what one side deleted and the other changed is there, and nothing else of it") {
  MergeFixture f;
  auto first = with_files({{"a/same", "1"},
                           {"a/changed", "1"},
                           {"b/same", "1"},
                           {"b/changed", "1"},
                           {"c/same", "1"},
                           {"d/same", "1"},
                           {"e", "1"},
                           {"f", "1"}});
  f.begin(first);
  auto ours = without({"b", "c", "e"});
  ours.file("a/changed", "ours");
  ours.file("d/added", "ours");
  ours.file("f", "ours");
  f.change_ours(ours);
  auto theirs = without({"a", "d", "f"});
  theirs.file("b/changed", "theirs");
  theirs.file("e", "theirs");
  f.change_theirs(theirs);
  auto merged = f.merge();
  CHECK(f.names() == std::set<std::string>{"a", "b", "d", "e", "f"});
  CHECK(f.names("a") == std::set<std::string>{"changed"});
  CHECK(f.names("b") == std::set<std::string>{"changed"});
  CHECK(f.names("d") == std::set<std::string>{"added"});
  CHECK(f.text("b/changed") == "theirs");
  CHECK(f.text("e") == "theirs");
  CHECK(f.text("f") == "ours");
  std::map<std::string, Kind> noted;
  for (auto& conflict : merged.conflicts) noted[conflict.path] = conflict.kind;
  CHECK(noted == std::map<std::string, Kind>{{"a", Kind::deleted_theirs},
                                             {"a/changed", Kind::deleted_theirs},
                                             {"b", Kind::deleted_ours},
                                             {"b/changed", Kind::deleted_ours},
                                             {"d", Kind::deleted_theirs},
                                             {"e", Kind::deleted_ours},
                                             {"f", Kind::deleted_theirs}});
}

TEST_CASE("a file in one and a folder in the other are both there; a folder that became a file is replaced") {
  MergeFixture f;
  auto first = with_files({{"x", "1"}, {"y/inside", "1"}});
  f.begin(first);
  auto ours = without({"x"});
  ours.directory("x");
  ours.file("x/inside", "ours");
  f.change_ours(ours);
  auto theirs = without({"y"});
  theirs.file("y", "a file now");
  theirs.file("x", "theirs");
  f.change_theirs(theirs);
  auto merged = f.merge();
  CHECK(f.text("x/inside") == "ours");
  CHECK(f.text(copy_of("x", f.fork)) == "theirs");
  CHECK(f.text("y") == "a file now");
  CHECK(merged.conflicts.size() == 1);
}

TEST_CASE("attributes and times are merged one by one, apart from content; streams come along") {
  MergeFixture f;
  auto first = with_files({{"x", "content"}, {"z", "z"}});
  std::get<profile::Put>(first.batch.records[0]).entry.metadata.written_100ns = 5;
  f.begin(first);
  BatchMaker ours, theirs;
  ours.file("x", "changed here").entry.metadata = {0, 0, 77, {}};
  f.change_ours(ours);
  theirs.file("x", "content").entry.metadata = {profile::kAttributeHidden, 0, 5, {}};
  auto& with_stream = theirs.file("z", "z2");
  with_stream.entry.streams.push_back({"zone", 3});
  with_stream.contents.push_back({"zone", 3, {{0, 3}}});
  theirs.content.streams[{1, 1}] = to_bytes("abc");
  f.change_theirs(theirs);
  CHECK(f.merge().conflicts.empty());
  auto entry = f.repository->tree(f.profile, f.head()).value()->lookup(path("x")).value();
  CHECK(entry.metadata.attributes == profile::kAttributeHidden);
  CHECK(entry.metadata.written_100ns == 77);
  CHECK(f.text("x") == "changed here");
  CHECK(as_text(f.read(f.head(), "z", "zone")) == "abc");
}

TEST_CASE("of a large file only what differs is written again") {
  MergeFixture f;
  std::mt19937_64 random(3);
  auto content = random_bytes(random, 5'000'000);
  BatchMaker first;
  first.file("large", content);
  f.begin(first);
  BatchMaker ours;
  ours.file("other", "x");
  f.change_ours(ours);
  content[2'000'000] ^= std::byte{1};
  BatchMaker theirs;
  profile::Put put;
  put.path = path("large");
  put.base = path("large");
  put.entry.size_bytes = content.size();
  put.contents.push_back({"", content.size(), {{2'000'000, 1}}});
  theirs.content.streams[{0, 0}] = content;
  theirs.batch.records.push_back(put);
  f.change_theirs(theirs);
  auto merged = f.merge();
  CHECK(merged.version->new_bytes < 10'000);
  CHECK(f.read(f.head(), "large") == content);
}

TEST_CASE("keys and values are merged one by one") {
  MergeFixture f;
  BatchMaker first;
  first.directory(kHive).entry.kind = profile::EntryKind::registry;
  first.key(kHive, "Software", "mine", to_bytes("1"));
  first.key(kHive, "Software\\App", "both", to_bytes("1"));
  first.key(kHive, "Software\\App\\Gone there", "v", to_bytes("1"));
  first.key(kHive, "Software\\App\\Gone here", "v", to_bytes("1"));
  first.key(kHive, "Software\\App\\Gone there, used here", "v", to_bytes("1"));
  first.key(kHive, "Plain", "v", to_bytes("1"));
  f.begin(first);
  const auto gone = [](BatchMaker& maker, const char* key) {
    maker.batch.records.push_back(profile::DeleteKey{path(kHive), profile::KeyPath::parse(key).value()});
  };
  const Bytes large(20'000, std::byte{'L'});
  BatchMaker ours;
  ours.key(kHive, "Software", "mine", to_bytes("2"));
  ours.key(kHive, "Software\\App", "both", to_bytes("ours"));
  ours.key(kHive, "Software\\App\\Gone there, used here", "w", to_bytes("ours"));
  gone(ours, "Software\\App\\Gone here");
  f.change_ours(ours);
  BatchMaker theirs;
  auto& app = theirs.key(kHive, "software\\APP", "both", large);  // case does not tell keys apart
  app.values.push_back({"only theirs", 1, 2, to_bytes("tt")});
  theirs.key(kHive, "Plain", "v", large);
  gone(theirs, "Software\\App\\Gone there");
  gone(theirs, "Software\\App\\Gone there, used here");
  theirs.key(kHive, "Software\\App\\Gone here", "v", to_bytes("theirs"));
  theirs.key(kHive, "New", "v", {});
  theirs.key(kHive, "New\\Below", "v", to_bytes("n"));
  f.change_theirs(theirs);
  auto merged = f.merge();
  auto found = f.values();
  CHECK(found["Software : mine"] == "2");
  CHECK(found["Plain : v"] == as_text(large));
  CHECK(found["New\\Below : v"] == "n");
  CHECK(found.count("Software\\App\\Gone there") == 0);
  CHECK(found["Software\\App\\Gone here : v"] == "theirs");
  CHECK(found.count("Software\\App\\Gone there, used here : v") == 0);
  CHECK(found["Software\\App\\Gone there, used here : w"] == "ours");
  // Keys keep the case that the head has, or the fork where it put them anew.
  std::map<std::string, std::string> upcase;
  for (auto& [name, data] : found) {
    auto upper = name;
    for (auto& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    upcase[upper] = data;
  }
  CHECK(upcase["SOFTWARE\\APP : BOTH"] == "ours");
  CHECK(upcase["SOFTWARE\\APP : ONLY THEIRS"] == "tt");
  auto copy =
      "SOFTWARE\\ROAMSTEAD\\CONFLICTS\\DESK-B, VERSION " + std::to_string(f.fork) + "\\SOFTWARE\\APP : BOTH";
  CHECK(upcase[copy] == as_text(large));
  CHECK(merged.conflicts.size() == 4);  // both; the key gone here and its value; the key gone there
}

TEST_CASE("a merged fork may grow, and only what is new of it is merged then; a discarded one is done with") {
  MergeFixture f;
  auto first = with_files({{"x", "1"}});
  f.begin(first);
  auto ours = with_files({{"y", "ours"}});
  f.change_ours(ours);
  auto theirs = with_files({{"x", "2"}});
  f.change_theirs(theirs);
  auto forks = forks_of(f.repository->versions(f.profile).value());
  REQUIRE(forks.size() == 1);
  CHECK(forks[0].version == f.fork);
  CHECK(forks[0].base == 1);
  CHECK(forks[0].is_open());
  REQUIRE(f.merge().version);
  CHECK(f.repository->merge(f.profile, f.fork, false, {}).error().code == ErrorCode::conflict);
  auto changed = with_files({{"x", "the head goes on"}});
  f.change_ours(changed);
  auto merged_before = f.fork;
  auto more = with_files({{"z", "late"}});
  f.change_theirs(more);
  auto grown = f.merge();
  CHECK(grown.base == merged_before);
  CHECK(grown.conflicts.empty());
  CHECK(f.text("x") == "the head goes on");
  CHECK(f.text("z") == "late");
  auto unwanted = with_files({{"q", "never"}});
  f.change_theirs(unwanted);
  auto head = f.head();
  auto mark = f.repository->discard(f.profile, f.fork, {}).value();
  CHECK(mark.kind == VersionKind::discard);
  CHECK(f.head() == head);
  CHECK(f.repository->merge(f.profile, f.fork, false, {}).error().code == ErrorCode::conflict);
  CHECK(f.repository->merge(f.profile, mark.number, false, {}).error().code == ErrorCode::invalid_argument);
  CHECK(f.repository->merge(f.profile, head, false, {}).error().code == ErrorCode::invalid_argument);
  CHECK(f.repository->merge(f.profile, 99, false, {}).error().code == ErrorCode::not_found);
  f.reopen();
  forks = forks_of(f.repository->versions(f.profile).value());
  REQUIRE(forks.size() == 1);
  CHECK(forks[0].discarded == mark.number);
  CHECK(f.repository->check({})->problems.empty());
}
