#include "common/registry/compare.h"

#include <doctest/doctest.h>

#include "common/base/text.h"
#include "common/registry/editor.h"
#include "common/registry/hive_oracles.h"
#include "common/registry/reg_text.h"
#include "common/registry/value_text.h"
#include "tests/support/seed.h"

namespace roamstead::registry {
namespace {

constexpr std::uint64_t kTime = 133000000000000000;

Bytes descriptor(unsigned mask) {
  Bytes bytes(20);
  bytes[0] = std::byte{1};
  store_le<std::uint16_t>(bytes, 2, static_cast<std::uint16_t>(0x8000 | mask));
  return bytes;
}

std::vector<std::string> differences(const Editor& before, const Editor& after) {
  std::vector<std::string> lines;
  compare(
      before.hive(), after.hive(),
      [&](const Difference& difference) {
        std::string line = std::string(to_string(difference.kind)) + " " + difference.path;
        const auto* value =
            difference.value_after != nullptr ? difference.value_after : difference.value_before;
        if (value != nullptr)
          line += ":" + value->name.to_wtf8() + " " + hex_text(difference.data_before) + ">" +
                  hex_text(difference.data_after);
        lines.push_back(line);
        return true;
      },
      [](const Defect& defect) { FAIL(defect.to_string()); });
  return lines;
}

void set(Editor& editor, const std::string& path, const std::string& name, std::uint32_t number) {
  const auto key = editor.create_path(editor.hive().root().value().cell, path).value();
  REQUIRE(editor.set_value(key, to_utf16(name).value(), 3, std::as_bytes(std::span(&number, 1))).has_value());
}

Editor sample() {
  auto editor = Editor::create(5, "ROOT", descriptor(0), kTime).value();
  for (int i = 0; i < 300; ++i)
    set(editor, "A\\" + std::to_string(i) + "\\x", "v", static_cast<std::uint32_t>(i));
  set(editor, "B", "one", 1);
  set(editor, "B", "two", 2);
  editor.finish();
  return editor;
}

Editor copy_of(const Editor& editor) {
  auto bytes = to_bytes(editor.file());
  return Editor::open(std::move(bytes), "copy").value();
}

}  // namespace

TEST_CASE("each kind of difference is found, in the order of paths, whether pages are shared or not") {
  const auto before = sample();
  // One copy shares all pages, the other has the same tree laid out anew.
  auto laid_out = Editor::create(3, "ROOT", descriptor(0), kTime).value();
  set(laid_out, "B", "two", 2);
  set(laid_out, "B", "one", 1);
  for (int i = 299; i >= 0; --i)
    set(laid_out, "a\\" + std::to_string(i) + "\\x", "V", static_cast<std::uint32_t>(i));
  auto shared = copy_of(before);
  for (auto* after : {&shared, &laid_out}) {
    CHECK(differences(before, *after).empty());
    const auto key = [&](const std::string& path) { return after->hive().find(path).value().cell; };
    CHECK(after->set_written(key("A"), 1).has_value());
    CHECK(differences(before, *after).empty());
    set(*after, "A\\17\\x", "v", 99);
    set(*after, "C\\D", "n", 5);
    REQUIRE(after->delete_key(key("A\\200")).has_value());
    REQUIRE(after->delete_value(key("B"), u"one").has_value());
    REQUIRE(after->set_security(key("A\\3"), descriptor(1)).has_value());
    REQUIRE(after->set_class(key("A\\4"), std::as_bytes(std::span(u"c", 1))).has_value());
    set(*after, "B", "three", 3);
    const std::string top = after->hive().find("A").value().name.to_wtf8();
    CHECK(differences(before, *after) ==
          std::vector<std::string>{
              "value changed " + top + "\\17\\x:" + (after == &shared ? "v" : "V") + " 11000000>63000000",
              "key removed " + top + "\\200", "security changed " + top + "\\3",
              "class changed " + top + "\\4", "value removed B:one 01000000>",
              "value added B:three >03000000", "key added C", "key added C\\D",
              "value added C\\D:n >05000000"});
  }
}

TEST_CASE("random edits: the differences between two states turn one picture into the other") {
  auto random = support::seeded_random();
  for (int round = 0; round < 30; ++round) {
    auto before = sample();
    auto after = copy_of(before);
    for (int i = 0; i < 40; ++i) {
      const auto path = "A\\" + std::to_string(random() % 330);
      const auto key = after.hive().find(path);
      if (random() % 4 == 0 && key) {
        REQUIRE(after.delete_key(key->cell).has_value());
      } else if (random() % 4 == 0 && key) {
        REQUIRE(after.rename_key(key->cell, u"new " + to_utf16(std::to_string(i)).value()).has_value());
      } else {
        set(after, path + (random() % 2 == 0 ? "\\x" : ""), random() % 2 == 0 ? "v" : "w",
            static_cast<std::uint32_t>(random()));
      }
    }
    auto picture = picture_of(before.hive());
    compare(
        before.hive(), after.hive(),
        [&](const Difference& difference) {
          if (difference.kind == DifferenceKind::key_added) picture[difference.path] = "";
          if (difference.kind == DifferenceKind::key_removed)
            std::erase_if(picture, [&](const auto& entry) {
              return entry.first == difference.path || entry.first.starts_with(difference.path + "\\") ||
                     entry.first.starts_with(difference.path + "\1");
            });
          const auto* value =
              difference.value_after != nullptr ? difference.value_after : difference.value_before;
          if (value == nullptr) return true;
          const auto name = difference.path + '\1' + value->name.to_wtf8();
          CHECK(picture.contains(name) == (difference.value_before != nullptr));
          if (difference.value_after == nullptr) {
            picture.erase(name);
          } else {
            picture[name] = std::to_string(value->type) + ":" + hex_text(difference.data_after);
          }
          return true;
        },
        [](const Defect& defect) { FAIL(defect.to_string()); });
    REQUIRE(same_picture(picture, picture_of(after.hive())));
  }
}

TEST_CASE("what was exported is imported to the same tree, and a second import changes nothing") {
  const auto before = sample();
  Bytes text = to_bytes(std::string_view("\xFF\xFE"));
  std::vector<Defect> defects;
  const auto root = before.hive().root().value();
  REQUIRE(export_reg(
              before.hive(), root, "HKEY_X",
              [&](std::u16string_view units) -> Result<void> {
                const auto part = std::as_bytes(std::span(units.data(), units.size()));
                text.insert(text.end(), part.begin(), part.end());
                return {};
              },
              defects)
              .has_value());
  auto after = Editor::create(6, "OTHER", descriptor(0), kTime).value();
  const auto changes = parse_reg(text).value();
  REQUIRE(apply_reg(after, changes, "hkey_x").has_value());
  CHECK(same_picture(picture_of(before.hive()), picture_of(after.hive())));
  const auto once = to_bytes(after.file());
  REQUIRE(apply_reg(after, changes, "HKEY_X").has_value());
  CHECK(to_bytes(after.file()) == once);
  const std::string remove =
      "Windows Registry Editor Version "
      "5.00\n[HKEY_X\\B]\n\"one\"=-\n\"none\"=-\n[-HKEY_X\\A]\n[-HKEY_X\\None]\n";
  REQUIRE(apply_reg(after, parse_reg(as_bytes(remove)).value(), "HKEY_X").has_value());
  CHECK(counts_of(picture_of(after.hive())) == TreeCounts{2, 1});
  CHECK(!apply_reg(after, changes, "HKEY_Y").has_value());
  CHECK(!apply_reg(after, changes, "HKEY").has_value());
}

}  // namespace roamstead::registry
