// Hives imported from files and written as files again, judged by comparison, check and independent readers.
#include "coordinator/repository/hive_file.h"

#include <filesystem>
#include <iostream>

#include "common/registry/check.h"
#include "common/registry/compare.h"
#include "common/registry/hive_oracles.h"
#include "common/registry/test_hive.h"
#include "coordinator/repository/exporter.h"
#include "coordinator/repository/importer.h"
#include "coordinator/repository/test_content.h"
#include "tests/support/corpus.h"

using namespace roamstead;
using namespace roamstead::repository;
namespace fs = std::filesystem;

namespace {

const profile::ProfilePath kHive = path("NTUSER.DAT");

std::string compare_files(ByteView before, ByteView after) {
  auto a = registry::Hive::open(before, "before").value(), b = registry::Hive::open(after, "after").value();
  std::string found;
  registry::compare(
      a, b,
      [&](const registry::Difference& difference) {
        found += std::string(registry::to_string(difference.kind)) + ": " + difference.path + "\n";
        return found.size() < 2000;
      },
      [&](const registry::Defect& defect) { found += defect.to_string() + "\n"; });
  return found;
}

// Path and time of every key.
std::map<std::string, std::uint64_t> times_of(ByteView file) {
  class Reader final : public registry::TreeVisitor {
   public:
    bool enter(const registry::Key& key, const std::string& at, std::uint32_t) override {
      times[at] = key.written_100ns;
      return true;
    }
    std::map<std::string, std::uint64_t> times;
  };
  auto hive = registry::Hive::open(file, "hive").value();
  Reader reader;
  hive.walk(hive.root().value(), reader);
  return std::move(reader.times);
}

void check_made(ByteView original, ByteView made) {
  CHECK(compare_files(original, made) == "");
  CHECK(times_of(original) == times_of(made));
  auto report = registry::check(registry::Hive::open(made, "made").value());
  CHECK_MESSAGE(report.sound(), (report.sound() ? "" : report.defects.front().to_string()));
}

struct Imported {
  TestRepository test;
  ImportResult result;
  std::unique_ptr<Tree> tree;

  explicit Imported(const std::string& source) {
    auto imported = import_directory(*test.repository, "alice", source, {});
    REQUIRE_MESSAGE(imported, imported.error().to_string());
    result = std::move(*imported);
    tree = test.repository->tree(test.profile, result.version.number).value();
  }
};

}  // namespace

TEST_CASE("a hive is imported as keys with what its log holds, and exported as an equal hive") {
  support::TemporaryDirectory source, target;
  auto before = registry::test::sample_hive(5, 600, 33000);
  auto editor = registry::Editor::open(before, "sample").value();
  auto key = editor.create_path(editor.hive().root()->cell, "Software\\in the log").value();
  REQUIRE(editor.set_value(key, u"x", 1, as_bytes("y")));
  editor.finish();
  auto after = std::move(editor).take();
  const auto sequence = registry::parse_base_block(before)->sequence_2;
  registry::test::make_dirty(before, sequence);
  registry::write_bytes(source / "ntuser.dat", before);
  registry::write_bytes(
      source / "NTUSER.DAT.log1",
      registry::test::new_log(before, {registry::test::entry_between(before, after, sequence + 1)}));
  registry::write_bytes(source / "ntuser.dat{0}.TM.blf", before);

  Imported imported(source.path());
  CHECK(imported.result.files == 1);
  CHECK(imported.result.hives == 1);
  CHECK(imported.result.skipped.empty());
  const auto hive = path("ntuser.dat");
  CHECK(imported.tree->list({}, "", 10)->size() == 1);
  CHECK(imported.tree->lookup(hive)->kind == profile::EntryKind::registry);
  CHECK(imported.tree->keys(hive, profile::KeyPath::parse("SOFTWARE\\IN THE LOG").value(),
                            profile::KeyScope::key, "", 1));
  auto exported = export_tree(*imported.tree, target / "out", {});
  REQUIRE_MESSAGE(exported, exported.error().to_string());
  CHECK(exported->incomplete.empty());
  auto made = registry::file_bytes(target / "out/ntuser.dat");
  check_made(after, made);
  CHECK(registry::parse_base_block(made)->dirty() == false);
  CHECK(fs::last_write_time(source / "ntuser.dat") - fs::last_write_time(target / "out/ntuser.dat") <
        std::chrono::microseconds(1));
  CHECK(imported.test.repository->check({})->problems.empty());
}

TEST_CASE("what is no hive or cannot be recovered is held back by name, and the rest is imported") {
  support::TemporaryDirectory source;
  fs::create_directories(source / "AppData/Local/Microsoft/Windows");
  auto dirty = registry::test::sample_hive(5, 3, 100);
  registry::test::make_dirty(dirty, 7);
  registry::write_bytes(source / "NTUSER.DAT", dirty);
  registry::write_bytes(source / "AppData/Local/Microsoft/Windows/UsrClass.dat", as_bytes("no hive"));
  registry::write_bytes(source / "note.txt", as_bytes("hello"));
  Imported imported(source.path());
  CHECK(imported.result.hives == 0);
  CHECK(imported.test.read(1, "note.txt") == to_bytes("hello"));
  CHECK_FALSE(imported.tree->lookup(kHive));
  const auto held_back = imported.test.repository->versions(imported.test.profile)->back().held_back;
  REQUIRE(held_back.size() == 2);
  CHECK(held_back[0].path == "NTUSER.DAT");
  CHECK(held_back[0].reason.find("dirty") != std::string::npos);
  CHECK(held_back[1].path == "AppData/Local/Microsoft/Windows/UsrClass.dat");
  CHECK(imported.result.skipped.size() == 2);
}

TEST_CASE("excluded keys and keys that no path can name stay behind, the latter by name") {
  support::TemporaryDirectory source;
  auto editor =
      registry::Editor::create(5, "ROOT", registry::test::descriptor(), registry::test::kTime).value();
  const auto root = editor.hive().root()->cell;
  REQUIRE(editor.create_path(root, "Volatile Environment\\1"));
  REQUIRE(editor.create_path(root, "Software\\kept\\below"));
  auto odd = editor.create_path(root, "Software\\odd#name\\below").value();
  REQUIRE(odd != 0);
  editor.finish();
  auto bytes = std::move(editor).take();
  const auto at = std::string(as_text(bytes)).find("odd#name");
  REQUIRE(at != std::string::npos);
  bytes[at + 3] = std::byte{'\\'};
  registry::write_bytes(source / "NTUSER.DAT", bytes);
  Imported imported(source.path());
  auto all = imported.tree->keys(kHive, {}, profile::KeyScope::subtree, "", 1u << 20).value();
  std::vector<std::string> paths;
  for (const auto& state : all.keys) paths.push_back(state.path.text());
  CHECK(paths == std::vector<std::string>{"", "Software", "Software\\kept", "Software\\kept\\below"});
  REQUIRE(imported.result.version.held_back.size() == 1);
  CHECK(imported.result.version.held_back[0].path == "NTUSER.DAT\\Software\\odd\\name");
}

TEST_CASE("a small hive whose paths would take thousands of times its size is taken in part") {
  auto editor =
      registry::Editor::create(5, "ROOT", registry::test::descriptor(), registry::test::kTime).value();
  auto cell = editor.hive().root()->cell;
  for (int depth = 0; depth < 100; ++depth) cell = editor.create_key(cell, std::u16string(250, u'a')).value();
  for (int i = 0; i < 3000; ++i) REQUIRE(editor.create_path(cell, std::to_string(i)));
  editor.finish();
  const auto file = std::move(editor).take();
  const auto records = read_hive_file(kHive, file, {}).value();
  std::size_t path_bytes = 0;
  for (const auto& put : records.keys) path_bytes += put.key.text().size();
  CHECK(records.keys.size() > 100);
  CHECK(path_bytes < 20 * file.size());
  CHECK(records.held_back.size() == 101);
  CHECK(records.held_back.back().reason.find("more defects") != std::string::npos);
}

TEST_CASE("keys without a usable descriptor are written with their parent's, and a root with a safe one") {
  TestRepository test;
  BatchMaker maker;
  maker.directory("NTUSER.DAT").entry.kind = profile::EntryKind::registry;
  profile::PutKey put{kHive, profile::KeyPath::parse("a").value(), {}, false, {}, {}};
  put.entry.security = to_bytes("no descriptor");
  put.values.push_back({"v", 1, 2, to_bytes(std::string_view("\0\0", 2))});
  maker.batch.records.push_back(put);
  REQUIRE(test.commit(maker));
  auto made = make_hive_file(*test.repository->tree(test.profile, 1).value(), kHive).value();
  REQUIRE(made.incomplete.size() == 1);
  CHECK(made.incomplete[0].find("NTUSER.DAT\\a") != std::string::npos);
  auto hive = registry::Hive::open(made.bytes, "made").value();
  CHECK(registry::check(hive).sound());
  auto descriptor = hive.security(hive.root().value()).value();
  CHECK(descriptor.size() == 20 + 52 + 16 + 12);
  CHECK(as_text(hive.security(hive.find("a").value()).value()) == as_text(descriptor));
}

TEST_CASE("hives of real machines come back from a version as they were, times and security with them") {
  const auto corpus = support::corpus("hives");
  if (corpus.empty()) return;
  struct Set {
    std::string primary;
    std::vector<std::string> logs;
    bool usable = true;
  };
  const std::vector<Set> sets = {
      {"regipy/NTUSER.DAT", {}},
      {"regipy/NTUSER_modified.DAT", {}},
      {"regipy/NTUSER-WSL.DAT.xz", {}},
      {"regipy/UsrClass.dat.xz", {"regipy/UsrClass.dat.LOG1", "regipy/UsrClass.dat.LOG2"}},
      {"museum/Win11/NTUSER.DAT.xz", {"museum/Win11/ntuser.dat.LOG1", "museum/Win11/ntuser.dat.LOG2"}},
      {"museum/Win11/UsrClass.dat.xz", {"museum/Win11/UsrClass.dat.LOG1", "museum/Win11/UsrClass.dat.LOG2"}},
      {"museum/Win11/DEFAULT (NTUSER)/NTUSER.DAT", {}},
      {"regipy/NTUSER_BAGMRU.DAT.xz", {}, false},  // dirty, and no log of it is there
  };
  int made_count = 0;
  for (const auto& set : sets) {
    CAPTURE(set.primary);
    const auto folder = corpus + "/";
    support::TemporaryDirectory source;
    const auto primary = registry::file_bytes(folder + set.primary);
    registry::write_bytes(source / "NTUSER.DAT", primary);
    std::vector<Bytes> bytes;
    std::vector<registry::LogFile> logs;
    for (const auto& log : set.logs) {
      bytes.push_back(registry::file_bytes(folder + log));
      logs.push_back({log, bytes.back()});
      registry::write_bytes(source / ("ntuser.dat" + log.substr(log.rfind('.'))), bytes.back());
    }
    Imported imported(source.path());
    REQUIRE((imported.result.hives == 1) == set.usable);
    if (!set.usable) {
      CHECK(imported.result.version.held_back.size() == 1);
      continue;
    }
    for (const auto& skipped : imported.result.skipped) FAIL_CHECK(skipped);
    auto recovery = registry::recover(primary, set.primary, logs).value();
    auto made = make_hive_file(*imported.tree, kHive);
    REQUIRE_MESSAGE(made, made.error().to_string());
    for (const auto& item : made->incomplete) FAIL_CHECK(item);
    check_made(recovery.report.was_dirty ? ByteView(recovery.file) : ByteView(primary), made->bytes);
    CHECK(made->keys == imported.result.keys);
    CHECK(imported.test.repository->check({})->problems.empty());
    if (!registry::have_oracles()) continue;
    registry::write_bytes(source / "made", made->bytes);
    const registry::TreeCounts counts{made->keys, made->values};
    CHECK(registry::hivexml_counts(source / "made") == counts);
    CHECK(registry::regfexport_counts(source / "made") == counts);
    if (made_count++ == 0) {
      auto hive = registry::Hive::open(made->bytes, "made").value();
      CHECK(registry::same_picture(registry::picture_of(hive), registry::hivex_picture(source / "made")));
    }
  }
}
