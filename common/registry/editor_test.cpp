// Edits against a model in memory: after every few, the hive must be whole and show the model; in the end
// independent readers must see it too.
#include "common/registry/editor.h"

#include <doctest/doctest.h>

#include <iostream>
#include <map>
#include <set>

#include "common/base/text.h"
#include "common/registry/check.h"
#include "common/registry/hive_oracles.h"
#include "common/registry/value_text.h"
#include "tests/support/seed.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::registry {
namespace {

constexpr std::uint64_t kTime = 133000000000000000;

Bytes descriptor(unsigned variant) {
  // Owner and group SYSTEM (S-1-5-18), a DACL with one entry whose mask differs.
  Bytes bytes(20);
  bytes[0] = std::byte{1};
  store_le<std::uint16_t>(bytes, 2, 0x8004);
  store_le<std::uint32_t>(bytes, 4, 48);
  store_le<std::uint32_t>(bytes, 8, 60);
  store_le<std::uint32_t>(bytes, 16, 20);
  const Bytes sid = {std::byte{1}, std::byte{1}, std::byte{0},  std::byte{0}, std::byte{0}, std::byte{0},
                     std::byte{0}, std::byte{5}, std::byte{18}, std::byte{0}, std::byte{0}, std::byte{0}};
  Bytes acl(16);
  acl[0] = std::byte{2};
  store_le<std::uint16_t>(acl, 2, 28);
  store_le<std::uint16_t>(acl, 4, 1);
  store_le<std::uint16_t>(acl, 10, 20);
  store_le<std::uint32_t>(acl, 12, 0xF003F ^ variant);
  for (const auto& part : {acl, sid, sid, sid}) bytes.insert(bytes.end(), part.begin(), part.end());
  return bytes;
}

struct ModelValue {
  std::string name;  // as given
  std::uint32_t type = 0;
  Bytes data;
};
struct ModelKey {
  std::string name;
  std::map<std::u16string, ModelKey> keys;  // by upcased name
  std::map<std::u16string, ModelValue> values;
  unsigned security = 0;
  std::string class_name;
};

void add_picture(const ModelKey& key, const std::string& path, TreePicture& picture) {
  picture[path] = "";
  for (const auto& [unused, value] : key.values)
    picture[path + '\1' + value.name] = std::to_string(value.type) + ":" + hex_text(value.data);
  for (const auto& [unused, child] : key.keys)
    add_picture(child, path.empty() ? child.name : path + "\\" + child.name, picture);
}

TreePicture picture_of(const ModelKey& root) {
  TreePicture picture;
  add_picture(root, "", picture);
  return picture;
}

// Securities and classes, which pictures do not show.
void compare_details(const Hive& hive, const Key& key, const ModelKey& model) {
  const auto security = hive.security(key).value();
  const auto expected = descriptor(model.security);
  CHECK(std::equal(security.begin(), security.end(), expected.begin(), expected.end()));
  CHECK(utf16le_to_wtf8(hive.class_name(key).value()) == model.class_name);
  for (const auto& entry : model.keys) {
    const ModelKey& child = entry.second;
    const auto found = hive.find_subkey(key, to_utf16(child.name).value()).value();
    REQUIRE_MESSAGE(found.has_value(), child.name);
    CHECK(found->name.to_wtf8() == child.name);
    compare_details(hive, *found, child);
  }
}

class Random {
 public:
  explicit Random(std::mt19937_64 engine) : engine_(std::move(engine)) {}
  std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }

  std::string name(bool value) {
    static const std::vector<std::string> kStems = {"a", "Software", "größe", "файл", "x y",
                                                    "Ä", "ß",        "ÿ",     "日本", "long"};
    auto text = kStems[below(kStems.size())] + std::to_string(below(40));
    if (below(10) == 0) text += std::string(below(120), 'n');
    if (value && below(12) == 0) text.clear();
    return text;
  }
  Bytes data() {
    static const std::vector<std::size_t> kSizes = {0,     1,     4,     5,     8,     60,    300,   4000,
                                                    16343, 16344, 16345, 16348, 32688, 32689, 70000, 5000};
    Bytes bytes(below(6) == 0 ? kSizes[below(kSizes.size())] : below(40));
    for (auto& byte : bytes) byte = static_cast<std::byte>(engine_());
    return bytes;
  }

 private:
  std::mt19937_64 engine_;
};

// One random change of both.
class Pair {
 public:
  Pair(Editor& editor, Random& random) : editor_(editor), random_(random) {}

  ModelKey& model() { return model_; }

  void change() {
    std::string path;
    auto& key = pick(path);
    const auto cell = editor_.hive().find(path).value().cell;
    switch (random_.below(12)) {
      case 0:
      case 1:
      case 2:
        return create(key, cell);
      case 3:
        return remove(key, path);
      case 4: {
        const auto variant = static_cast<unsigned>(random_.below(5));
        CHECK(editor_.set_security(cell, descriptor(variant)).has_value());
        key.security = variant;
        return;
      }
      case 5:
        return rename(key, path);
      case 6: {
        const std::u16string units(random_.below(3) * 7, u'c');
        CHECK(editor_.set_class(cell, std::as_bytes(std::span(units.data(), units.size()))).has_value());
        key.class_name = to_wtf8(units);
        return;
      }
      case 7:
        return remove_value(key, cell);
      default:
        return set_value(key, cell);
    }
  }

 private:
  ModelKey& pick(std::string& path) {
    auto* key = &model_;
    while (!key->keys.empty() && random_.below(4) != 0) {
      auto it = key->keys.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(random_.below(key->keys.size())));
      key = &it->second;
      path += (path.empty() ? "" : "\\") + key->name;
    }
    return *key;
  }
  void create(ModelKey& key, std::uint32_t cell) {
    const auto name = random_.name(false);
    auto created = editor_.create_key(cell, to_utf16(name).value());
    if (key.keys.contains(upcase_key(name))) {
      REQUIRE(!created.has_value());
      CHECK(created.error().code == ErrorCode::exists);
      return;
    }
    REQUIRE_MESSAGE(created.has_value(), (created ? "" : created.error().to_string()));
    ModelKey made;
    made.name = name;
    made.security = key.security;
    key.keys[upcase_key(name)] = made;
  }
  void remove(ModelKey& key, const std::string& path) {
    if (key.keys.empty()) return;
    auto it = key.keys.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random_.below(key.keys.size())));
    const auto cell = editor_.hive().find((path.empty() ? "" : path + "\\") + it->second.name).value().cell;
    auto deleted = editor_.delete_key(cell);
    REQUIRE_MESSAGE(deleted.has_value(), (deleted ? "" : deleted.error().to_string()));
    key.keys.erase(it);
  }
  void rename(ModelKey& key, const std::string& path) {
    if (key.keys.empty()) return;
    auto it = key.keys.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random_.below(key.keys.size())));
    const auto cell = editor_.hive().find((path.empty() ? "" : path + "\\") + it->second.name).value().cell;
    const auto name = random_.name(false);
    const auto other = key.keys.find(upcase_key(name));
    auto renamed = editor_.rename_key(cell, to_utf16(name).value());
    if (other != key.keys.end() && other != it) {
      CHECK(!renamed.has_value());
      return;
    }
    REQUIRE_MESSAGE(renamed.has_value(), (renamed ? "" : renamed.error().to_string()));
    auto moved = std::move(it->second);
    key.keys.erase(it);
    moved.name = name;
    key.keys[upcase_key(name)] = std::move(moved);
  }
  void set_value(ModelKey& key, std::uint32_t cell) {
    const auto name = random_.name(true);
    ModelValue value{name, static_cast<std::uint32_t>(random_.below(13) == 12 ? 0x220 : random_.below(12)),
                     random_.data()};
    auto set = editor_.set_value(cell, to_utf16(name).value(), value.type, value.data);
    REQUIRE_MESSAGE(set.has_value(), (set ? "" : set.error().to_string()));
    const auto it = key.values.find(upcase_key(name));
    if (it != key.values.end()) value.name = it->second.name;  // the name stays as it was first written
    key.values[upcase_key(name)] = value;
  }
  void remove_value(ModelKey& key, std::uint32_t cell) {
    if (key.values.empty()) return;
    auto it = key.values.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random_.below(key.values.size())));
    CHECK(editor_.delete_value(cell, to_utf16(it->second.name).value()).has_value());
    key.values.erase(it);
  }

  Editor& editor_;
  Random& random_;
  ModelKey model_;
};

void expect_sound(const Hive& hive, std::uint64_t lost_cells = 0) {
  const auto report = check(hive);
  CHECK(report.defect_count == 0);
  CHECK(report.lost_cells == lost_cells);
  for (const auto& defect : report.defects) MESSAGE(defect.to_string());
}

}  // namespace

TEST_CASE(
    "random edits of hives of each version keep them whole and show the model, also to independent readers") {
  auto engine = support::seeded_random();
  for (const std::uint32_t minor : {3u, 4u, 5u, 6u}) {
    CAPTURE(minor);
    Random random{std::mt19937_64(engine())};
    auto editor = Editor::create(minor, "ROOT", descriptor(0), kTime).value();
    Pair pair(editor, random);
    for (int round = 0; round < 40; ++round) {
      for (int i = 0; i < 30; ++i) pair.change();
      expect_sound(editor.hive());
      REQUIRE(same_picture(registry::picture_of(editor.hive()), picture_of(pair.model())));
    }
    compare_details(editor.hive(), editor.hive().root().value(), pair.model());
    editor.finish();
    const auto reopened = Hive::open(editor.file(), "hive").value();
    CHECK(!reopened.base().dirty());
    expect_sound(reopened);
    if (!have_oracles()) continue;
    support::TemporaryDirectory directory;
    const auto path = directory / "hive";
    write_bytes(path, editor.file());
    const auto counts = counts_of(picture_of(pair.model()));
    CHECK(hivexml_counts(path) == counts);
    CHECK(reglookup_counts(path) == counts);
    CHECK(regfexport_counts(path) == counts);
    CHECK(same_picture(hivex_picture(path), picture_of(pair.model())));
  }
}

TEST_CASE("thousands of subkeys are split into sorted lists below an index and taken away again") {
  for (const std::uint32_t minor : {3u, 5u}) {
    CAPTURE(minor);
    auto editor = Editor::create(minor, "ROOT", descriptor(0), kTime).value();
    const auto root = editor.hive().root().value().cell;
    auto random = support::seeded_random();
    std::vector<std::string> names;
    for (int i = 0; i < 3000; ++i) names.push_back("key " + std::to_string(i));
    std::shuffle(names.begin(), names.end(), random);
    for (const auto& name : names) REQUIRE(editor.create_key(root, to_utf16(name).value()).has_value());
    expect_sound(editor.hive());
    const auto list = editor.hive().cell(editor.hive().root().value().subkeys_cell).value();
    CHECK(as_text(list.first(2)) == "ri");
    for (const auto& name : names)
      REQUIRE(editor.delete_key(editor.hive().find(name).value().cell).has_value());
    expect_sound(editor.hive());
    CHECK(check(editor.hive()).keys == 1);
    CHECK(check(editor.hive()).cells == 2);  // the root and its security
  }
}

TEST_CASE("free cells are used again: a value set a thousand times does not make the hive grow") {
  auto editor = Editor::create(5, "ROOT", descriptor(0), kTime).value();
  const auto root = editor.hive().root().value().cell;
  for (int i = 0; i < 1000; ++i)
    REQUIRE(editor.set_value(root, u"v", 3, Bytes(static_cast<std::size_t>(100 + i % 700), std::byte{7}))
                .has_value());
  CHECK(editor.file().size() == kBaseBlockBytes + kPageBytes);
  expect_sound(editor.hive());
}

TEST_CASE("what is set again as it is changes nothing; a small change touches few sectors") {
  auto editor = Editor::create(5, "ROOT", descriptor(0), kTime).value();
  for (int i = 0; i < 2000; ++i) {
    const auto key = editor.create_path(editor.hive().root().value().cell, "A\\" + std::to_string(i)).value();
    REQUIRE(editor.set_value(key, u"value", 1, Bytes(64, std::byte{1})).has_value());
  }
  editor.finish();
  auto again = Editor::open(to_bytes(editor.file()), "hive").value();
  const auto key = again.hive().find("a\\1234").value().cell;
  REQUIRE(again.set_value(key, u"VALUE", 1, Bytes(64, std::byte{1})).has_value());
  again.finish();
  CHECK(again.dirty().empty());
  again.set_time(kTime + 1);
  REQUIRE(again.set_value(key, u"value", 1, Bytes(64, std::byte{2})).has_value());
  again.finish();
  CHECK(again.dirty().total_bytes() <= 5 * 512);
  // Written over the old file, the dirty sectors make the new one.
  auto patched = to_bytes(editor.file());
  for (const auto& range : again.dirty().ranges())
    std::copy_n(again.file().begin() + static_cast<std::ptrdiff_t>(range.offset), range.length,
                patched.begin() + static_cast<std::ptrdiff_t>(range.offset));
  CHECK(patched == to_bytes(again.file()));
}

TEST_CASE("what cannot be is refused and changes nothing") {
  auto editor = Editor::create(5, "ROOT", descriptor(0), kTime).value();
  const auto root = editor.hive().root().value().cell;
  const auto key = editor.create_key(root, u"k").value();
  const auto before = to_bytes(editor.file());
  CHECK(!editor.create_key(root, u"").has_value());
  CHECK(!editor.create_key(root, u"a\\b").has_value());
  CHECK(!editor.create_key(root, std::u16string(256, u'a')).has_value());
  CHECK(!editor.create_key(root, u"K").has_value());
  CHECK(!editor.create_key(key + 8, u"x").has_value());
  CHECK(!editor.delete_key(root).has_value());
  CHECK(!editor.rename_key(root, u"x").has_value());
  CHECK(!editor.delete_value(key, u"none").has_value());
  CHECK(!editor.set_value(key, std::u16string(16384, u'v'), 1, {}).has_value());
  CHECK(!editor.set_security(key, Bytes(19)).has_value());
  CHECK(!editor.set_security(key, Bytes(40)).has_value());
  CHECK(to_bytes(editor.file()) == before);
  CHECK(!Editor::create(2, "R", descriptor(0), kTime).has_value());
  auto dirty = before;
  store_le<std::uint32_t>(dirty, 4, 77);
  CHECK(!Editor::open(dirty, "dirty").has_value());
}

}  // namespace roamstead::registry
