#include "common/extract/hive_changes.h"

#include <doctest/doctest.h>

#include "common/base/text.h"
#include "common/extract/base_hive.h"
#include "common/extract/live_hive.h"
#include "common/extract/test_tree.h"
#include "common/registry/test_hive.h"

namespace roamstead::extract {
namespace {

using registry::Editor;

Editor live_hive() { return Editor::create(5, "ROOT", registry::test::descriptor(), 1).value(); }

// The four hives of a comparison, edited in place.
struct Hives {
  Editor now = live_hive(), before = live_hive();
  Editor base = create_base_hive().value(), base_before = create_base_hive().value();

  static std::uint32_t key(Editor& hive, const std::string& path) {
    return hive.create_path(hive.hive().root().value().cell, path).value();
  }
  static void set(Editor& hive, const std::string& path, const std::string& name, const std::string& text) {
    REQUIRE(hive.set_value(key(hive, path), to_utf16(name).value(), 1, as_bytes(text)));
  }
  static void remove(Editor& hive, const std::string& path) { REQUIRE(hive.delete_key(key(hive, path))); }
  static void remove(Editor& hive, const std::string& path, const std::string& name) {
    REQUIRE(hive.delete_value(key(hive, path), to_utf16(name).value()));
  }
  static void secure(Editor& hive, const std::string& path, unsigned control) {
    REQUIRE(hive.set_security(key(hive, path), registry::test::descriptor(control)));
  }
  // As the agent does it: the live hive gets what the base hive gets.
  static void load(Editor* live, Editor& base, const std::string& path, bool complete,
                   const std::vector<std::pair<std::string, std::string>>& values = {},
                   unsigned control = 0) {
    profile::KeyState state{profile::KeyPath::parse(path).value(), {}, complete, {}};
    state.entry.security = registry::test::descriptor(control);
    state.entry.written_100ns = 7;
    for (const auto& [name, text] : values)
      state.values.push_back({name, 1, text.size(), to_bytes(as_bytes(text))});
    REQUIRE(add_to_base_hive(base, {state}, {}));
    if (live == nullptr) return;
    secure(*live, path, control);
    for (const auto& [name, text] : values) set(*live, path, name, text);
  }

  // What the batch says when all of it was known at the snapshot before.
  HiveRecords mirrored() { return records({path(), &now.hive(), &before.hive(), {}, {}, Knowledge::exact}); }
  HiveRecords first() { return records({path(), &now.hive(), nullptr, &base.hive()}); }
  HiveRecords next() {
    return records({path(), &now.hive(), &before.hive(), &base.hive(), &base_before.hive()});
  }
  static profile::ProfilePath path() { return profile::hive_paths()[0]; }
  static HiveRecords records(const HiveComparison& comparison) { return changes_of(comparison).value(); }
};

std::string text(const HiveRecords& records) {
  profile::Batch batch;
  for (const auto& record : records.deletes) batch.records.push_back(record);
  for (const auto& record : records.puts) batch.records.push_back(record);
  batch.held_back = records.held_back;
  REQUIRE(profile::check_batch(batch));
  return describe(batch);
}

TEST_CASE("what is equal but for its times and its layout is no change") {
  Hives hives;
  for (const char* path : {"a", "b", "c"}) Hives::set(hives.now, path, "v", path);
  hives.before.set_time(99);
  for (const char* path : {"c", "b", "a"}) Hives::set(hives.before, path, "v", path);
  CHECK(text(hives.mirrored()) == "");
}

TEST_CASE("values, classes, security and keys that differ are records, parents first") {
  Hives hives;
  for (auto* hive : {&hives.now, &hives.before}) {
    for (const char* name : {"same", "gone", "new type"}) Hives::set(*hive, "k", name, "x");
    Hives::set(*hive, "old\\below", "v", "x");
    Hives::key(*hive, "security");
    Hives::key(*hive, "class");
  }
  Hives::set(hives.now, "k", "new", "y");
  Hives::remove(hives.now, "k", "gone");
  REQUIRE(hives.now.set_value(Hives::key(hives.now, "k"), u"new type", 3, as_bytes("x")));
  Hives::remove(hives.now, "old");
  Hives::set(hives.now, "made\\below", "", "z");
  Hives::secure(hives.now, "security", 4);
  REQUIRE(hives.now.set_class(Hives::key(hives.now, "class"), std::as_bytes(std::span(u"c", 1))));
  hives.now.set_time(77);
  const auto records = hives.mirrored();
  CHECK(text(records) ==
        "delete key NTUSER.DAT\\old\n"
        "put key NTUSER.DAT\\class\n"
        "put key NTUSER.DAT\\k 'new' 1:1 'new type' 3:1 -'gone'\n"
        "put key NTUSER.DAT\\made\n"
        "put key NTUSER.DAT\\made\\below '' 1:1\n"
        "put key NTUSER.DAT\\security\n");
  CHECK(records.puts[0].entry.class_name == to_bytes(std::as_bytes(std::span(u"c", 1))));
  CHECK(records.puts[4].entry.security == registry::test::descriptor(4));
}

TEST_CASE("a hive that nobody had is all new, its root too; long data travels as content") {
  Hives hives;
  Hives::set(hives.now, "a", "short", std::string(4096, 'x'));
  Hives::set(hives.now, "a", "long", std::string(4097, 'x'));
  const auto records =
      Hives::records({Hives::path(), &hives.now.hive(), nullptr, nullptr, nullptr, Knowledge::exact});
  CHECK(text(records) == "put key NTUSER.DAT\\\nput key NTUSER.DAT\\a 'long' 1:4097 'short' 1:4096\n");
  CHECK(records.puts[1].values[0].data.empty());
  CHECK(records.puts[1].values[1].data.size() == 4096);
}

TEST_CASE("loading is no change, in the first batch or later, be it a key, its values or all below it") {
  for (const bool first : {true, false}) {
    CAPTURE(first);
    Hives hives;
    for (auto [path, complete] : {std::pair("Software", true), {"Software\\A", false}}) {
      Hives::load(&hives.now, hives.base, path, complete, {}, 3);
      if (!first) {
        Hives::load(&hives.before, hives.base_before, path, complete, {}, 3);
      }
    }
    Hives::load(&hives.now, hives.base, "Software\\A", true, {{"v", "x"}}, 3);
    Hives::load(&hives.now, hives.base, "Deep\\er\\still", true, {{"v", "x"}}, 5);
    CHECK(text(first ? hives.first() : hives.next()) == "");
  }
}

TEST_CASE("what was loaded and then changed or deleted is sent, in the first batch or later") {
  for (const bool first : {true, false}) {
    CAPTURE(first);
    Hives hives;
    Hives::load(&hives.now, hives.base, "", true);
    if (!first) {
      Hives::load(&hives.before, hives.base_before, "", true);
      Hives::load(&hives.before, hives.base_before, "A", false);
    }
    Hives::load(&hives.now, hives.base, "A", true, {{"kept", "x"}, {"changed", "x"}, {"gone", "x"}});
    Hives::load(&hives.now, hives.base, "A\\placeholder", false);
    Hives::load(&hives.now, hives.base, "A\\loaded", true, {{"v", "x"}});
    Hives::set(hives.now, "A", "changed", "y");
    Hives::remove(hives.now, "A", "gone");
    Hives::remove(hives.now, "A\\placeholder");
    Hives::remove(hives.now, "A\\loaded");
    CHECK(text(first ? hives.first() : hives.next()) ==
          "delete key NTUSER.DAT\\A\\loaded\n"
          "delete key NTUSER.DAT\\A\\placeholder\n"
          "put key NTUSER.DAT\\A 'changed' 1:1 -'gone'\n");
  }
}

TEST_CASE("nothing is deleted where nothing was loaded") {
  Hives hives;
  Hives::load(&hives.now, hives.base, "A\\B", true, {{"v", "x"}});
  CHECK(text(hives.first()) == "");
  // Made for B alone, A says nothing when it is gone; B, which was loaded, is gone.
  Hives::remove(hives.now, "A");
  CHECK(text(hives.first()) == "delete key NTUSER.DAT\\A\\B\n");
}

TEST_CASE("a key made over one that was not loaded merges, and so does what is made below it") {
  Hives hives;
  Hives::load(&hives.now, hives.base, "Placeholder", false, {}, 3);
  Hives::set(hives.now, "Placeholder", "v", "x");
  Hives::set(hives.now, "Unknown\\below", "v", "x");
  CHECK(text(hives.first()) ==
        "merge key NTUSER.DAT\\Placeholder 'v' 1:1\n"
        "merge key NTUSER.DAT\\Unknown\n"
        "merge key NTUSER.DAT\\Unknown\\below 'v' 1:1\n");
}

TEST_CASE("a key made where the parent is loaded is new, and so is what is made below it, then and later") {
  Hives hives;
  Hives::load(&hives.now, hives.base, "", true);
  Hives::set(hives.now, "Mine\\below", "v", "x");
  CHECK(text(hives.first()) == "put key NTUSER.DAT\\Mine\nput key NTUSER.DAT\\Mine\\below 'v' 1:1\n");
  Hives::load(&hives.before, hives.base_before, "", true);
  Hives::set(hives.before, "Mine\\below", "v", "x");
  CHECK(text(hives.next()) == "");
  Hives::set(hives.now, "Mine\\below\\more", "w", "x");
  Hives::remove(hives.now, "Mine\\below", "v");
  CHECK(text(hives.next()) ==
        "put key NTUSER.DAT\\Mine\\below -'v'\nput key NTUSER.DAT\\Mine\\below\\more 'w' 1:1\n");
}

TEST_CASE("what was made here and sent is known, and its deletion counts without any loading") {
  Hives hives;
  for (const char* name : {"v", "w"}) Hives::set(hives.before, "Unknown", name, "x");
  Hives::set(hives.before, "Unknown\\sub", "v", "x");
  Hives::set(hives.now, "Unknown", "v", "x");
  CHECK(text(hives.next()) == "delete key NTUSER.DAT\\Unknown\\sub\nmerge key NTUSER.DAT\\Unknown -'w'\n");
}

TEST_CASE("what a program had put before a key was loaded stays on top of what was loaded") {
  Hives hives;
  Hives::set(hives.before, "K", "local", "mine");  // and was sent
  Hives::set(hives.before, "K", "both", "mine");
  Hives::load(&hives.now, hives.base, "K", true, {{"both", "theirs"}, {"other", "theirs"}});
  for (const char* name : {"local", "both"}) Hives::set(hives.now, "K", name, "mine");
  CHECK(text(hives.next()) == "");
  Hives::set(hives.now, "K", "both", "theirs");
  CHECK(text(hives.next()) == "put key NTUSER.DAT\\K 'both' 1:6\n");
}

TEST_CASE("security of a key that was not loaded: nobody's decision is not sent, a program's is") {
  Hives hives;
  for (auto* live : {&hives.now, &hives.before})
    for (const char* path : {"Blind", "Other"}) Hives::secure(*live, path, 9);
  CHECK(text(hives.next()) == "");
  Hives::load(nullptr, hives.base, "Blind", true, {{"v", "x"}}, 3);  // the live hive keeps what it had
  Hives::set(hives.now, "Blind", "v", "x");
  CHECK(text(hives.next()) == "");
  Hives::set(hives.now, "Blind", "w", "x");
  CHECK(text(hives.next()) == "merge key NTUSER.DAT\\Blind 'w' 1:1\n");
  Hives::secure(hives.now, "Other", 5);
  const auto records = hives.next();
  CHECK(text(records) == "merge key NTUSER.DAT\\Blind 'w' 1:1\nput key NTUSER.DAT\\Other\n");
  CHECK(records.puts[1].entry.security == registry::test::descriptor(5));
}

TEST_CASE("a key deleted at the snapshot before and there again is made anew") {
  for (const bool complete : {true, false}) {
    CAPTURE(complete);
    Hives hives;
    Hives::load(&hives.before, hives.base_before, "", complete);
    Hives::load(nullptr, hives.base_before, "K", complete, {});
    Hives::load(&hives.now, hives.base, "", complete);
    Hives::load(&hives.now, hives.base, "K", true, {});
    Hives::set(hives.now, "K\\below", "v", "x");
    CHECK(text(hives.next()) == std::string(complete ? "put" : "merge") + " key NTUSER.DAT\\K\n" +
                                    (complete ? "put" : "merge") + " key NTUSER.DAT\\K\\below 'v' 1:1\n");
    // And while it is gone it is not deleted again.
    Hives::remove(hives.now, "K");
    CHECK(text(hives.next()) == "");
  }
}

TEST_CASE("a placeholder deleted at the snapshot before, of a loaded parent, is new when it is made again") {
  Hives hives;
  for (auto* base : {&hives.base, &hives.base_before}) {
    Hives::load(nullptr, *base, "", true);
    Hives::load(nullptr, *base, "K", false);
  }
  Hives::set(hives.now, "K", "v", "x");
  CHECK(text(hives.next()) == "put key NTUSER.DAT\\K 'v' 1:1\n");
}

TEST_CASE("a base hive that was begun since, and none yet") {
  Hives hives;
  Hives::set(hives.before, "A", "v", "x");
  Hives::set(hives.now, "A", "v", "x");
  Hives::load(&hives.now, hives.base, "A", true, {{"w", "x"}});
  Hives::load(&hives.now, hives.base, "B", true, {{"w", "x"}});
  const HiveComparison since{Hives::path(), &hives.now.hive(), &hives.before.hive(), &hives.base.hive()};
  CHECK(text(Hives::records(since)) == "");
  const HiveComparison none{Hives::path(), &hives.now.hive()};
  CHECK(text(Hives::records(none)) ==
        "merge key NTUSER.DAT\\\nmerge key NTUSER.DAT\\A 'v' 1:1 'w' 1:1\nmerge key NTUSER.DAT\\B 'w' 1:1\n");
}

TEST_CASE("when nobody knows what was sent, all that is here is") {
  Hives hives;
  Hives::load(&hives.now, hives.base, "", true);
  Hives::load(&hives.now, hives.base, "A", true, {{"v", "x"}});
  Hives::load(&hives.now, hives.base, "B", true);
  Hives::remove(hives.now, "B");
  HiveComparison comparison{Hives::path(), &hives.now.hive(), nullptr, &hives.base.hive()};
  comparison.send_all = true;
  CHECK(text(Hives::records(comparison)) ==
        "delete key NTUSER.DAT\\B\nput key NTUSER.DAT\\\nput key NTUSER.DAT\\A 'v' 1:1\n");
}

TEST_CASE("keys of the session alone are left out, in the user's hive") {
  Hives hives;
  for (const char* path : {"Volatile Environment\\1", "Software\\x"}) Hives::set(hives.now, path, "v", "x");
  CHECK(text(hives.mirrored()) == "put key NTUSER.DAT\\Software\nput key NTUSER.DAT\\Software\\x 'v' 1:1\n");
  Hives::set(hives.before, "Volatile Environment", "v", "x");
  Hives::remove(hives.now, "Volatile Environment");
  Hives::remove(hives.now, "Software");
  CHECK(text(hives.mirrored()) == "");
}

TEST_CASE("keys may nest as deep as Windows lets them; what lies deeper is held back") {
  for (const bool all : {false, true}) {
    Hives hives;
    std::string path = "k";
    for (std::size_t depth = 1; depth < profile::kMaxKeyDepth; ++depth) path += "\\k";
    Hives::set(hives.now, path, "v", "x");
    HiveComparison comparison{Hives::path(), &hives.now.hive(), &hives.before.hive()};
    comparison.above_root = Knowledge::exact;
    comparison.send_all = all;
    auto records = Hives::records(comparison);
    CHECK(records.puts.size() == profile::kMaxKeyDepth + (all ? 1 : 0));
    CHECK(records.held_back.empty());
    Hives::set(hives.now, path + "\\k\\k", "v", "x");
    records = Hives::records(comparison);
    CHECK(records.puts.size() == profile::kMaxKeyDepth + (all ? 1 : 0));
    REQUIRE(records.held_back.size() == 1);
    CHECK(records.held_back[0].path == "NTUSER.DAT\\" + path);
  }
}

// Writes over bytes of a hive, as damage does.
Bytes damaged(const Editor& editor, std::uint32_t cell, std::size_t offset, std::uint32_t word) {
  auto bytes = to_bytes(editor.file());
  store_le<std::uint32_t>(bytes, registry::kBaseBlockBytes + cell + 4 + offset, word);
  return bytes;
}

TEST_CASE("what is damaged is held back by name, and deletes nothing beside it") {
  Hives hives;
  for (auto* hive : {&hives.now, &hives.before})
    for (const char* path : {"k\\a", "k\\b", "other"}) Hives::set(*hive, path, "v", "x");
  Hives::set(hives.now, "other", "v", "y");
  hives.now.finish();
  const auto key = hives.now.hive().find("k").value();
  const auto compare = [&](const Bytes& now) {
    const auto hive = registry::Hive::open(now, "hive").value();
    return text(Hives::records({Hives::path(), &hive, &hives.before.hive(), {}, {}, Knowledge::exact}));
  };
  const std::string changed = "put key NTUSER.DAT\\other 'v' 1:1\n";
  // The list of subkeys leads nowhere; one of them is no key; a value is none; security is none.
  CHECK(compare(damaged(hives.now, key.cell, registry::nk::kSubkeys, 0x7FFFFFF8))
            .rfind(changed + "held back NTUSER.DAT\\k: damaged: ", 0) == 0);
  const auto sub = hives.now.hive().find("k\\a").value();
  CHECK(
      compare(damaged(hives.now, sub.cell, 0, 0)).rfind(changed + "held back NTUSER.DAT\\k: damaged: ", 0) ==
      0);
  CHECK(compare(damaged(hives.now, sub.cell, registry::nk::kValues, 0x10))
            .rfind(changed + "held back NTUSER.DAT\\k\\a: damaged: ", 0) == 0);
  CHECK(compare(damaged(hives.now, sub.cell, registry::nk::kSecurity, 0x10)) == changed);
}

TEST_CASE("a hive whose records would exceed all bounds is refused, whatever its size") {
  Hives hives;
  // Many values at the end of a long path.
  std::string path = std::string(200, 'a');
  for (int depth = 0; depth < 500; ++depth) path += "\\" + std::string(200, 'b');
  const auto cell = Hives::key(hives.now, path);
  CHECK(survey_keys(hives.now.hive()).value());
  bool set = true;
  for (int i = 0; i < 6'000; ++i)
    set = set && hives.now.set_value(cell, to_utf16(std::to_string(i)).value(), 4, Bytes(4));
  REQUIRE(set);
  const auto refused = survey_keys(hives.now.hive());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
}

}  // namespace
}  // namespace roamstead::extract
