#include "common/extract/base_hive.h"

#include <doctest/doctest.h>

#include "common/base/text.h"
#include "common/registry/check.h"
#include "common/registry/test_hive.h"

namespace roamstead::extract {
namespace {

using profile::KeyPath;
using profile::KeyState;

KeyState state(const std::string& path, bool complete, std::vector<profile::RegistryValue> values = {}) {
  KeyState key;
  key.path = KeyPath::parse(path).value();
  key.entry.written_100ns = registry::test::kTime;
  key.entry.security = registry::test::descriptor(static_cast<unsigned>(path.size()));
  key.complete = complete;
  key.values = std::move(values);
  return key;
}

Result<Bytes> nothing_to_read(const KeyPath&, const profile::RegistryValue& value) {
  return fail(ErrorCode::unavailable, "value '" + value.name + "' cannot be had now");
}

struct Base {
  registry::Editor editor = create_base_hive().value();

  void add(const std::vector<KeyState>& keys, const ValueReader& read = nothing_to_read) {
    REQUIRE(add_to_base_hive(editor, keys, read));
    editor.finish();
    const auto hive = registry::Hive::open(editor.file(), "base").value();
    const auto report = registry::check(hive);
    CHECK(report.sound());
  }
  registry::Key at(const std::string& path) const { return editor.hive().find(path).value(); }
  bool complete(const std::string& path) const { return is_complete(at(path)); }
  Bytes value(const std::string& path, const std::string& name) const {
    const auto value = editor.hive().find_value(at(path), to_utf16(name).value()).value();
    REQUIRE(value.has_value());
    Bytes scratch;
    return to_bytes(editor.hive().data(*value, scratch).value());
  }
};

TEST_CASE("a new base hive knows nothing, not even its root") {
  Base base;
  CHECK_FALSE(base.complete(""));
  CHECK(base.at("").subkey_count == 0);
}

TEST_CASE("parents of what was loaded are placeholders, and stay so whatever is added below them") {
  Base base;
  base.add({state("Software\\App", true, {{"a", 4, 4, Bytes(4, std::byte{1})}})});
  CHECK_FALSE(base.complete(""));
  CHECK_FALSE(base.complete("Software"));
  CHECK(base.complete("software\\APP"));
  CHECK(base.at("Software\\App").written_100ns == registry::test::kTime);
  base.add({state("Software\\Other", false), state("Software\\App\\Late", false)});
  CHECK_FALSE(base.complete("Software"));
  CHECK_FALSE(base.complete("Software\\Other"));
  CHECK(base.complete("Software\\App"));
  CHECK(base.at("Software\\App").written_100ns == registry::test::kTime);
}

TEST_CASE(
    "a placeholder becomes complete, with its values, class and security; its time 0 becomes the earliest") {
  Base base;
  base.add({state("", true), state("Key", false)});
  auto key = state("Key", true, {{"", 1, 2, Bytes(2)}, {"v", 3, 300, Bytes(300, std::byte{7})}});
  key.entry.written_100ns = 0;
  key.entry.class_name = to_bytes(std::as_bytes(std::span(u"class", 5)));
  key.entry.security = registry::test::descriptor(9);
  base.add({key, state("Key\\Sub", false)});
  CHECK(base.at("Key").written_100ns == kEarliestTime);
  CHECK(base.value("Key", "v") == Bytes(300, std::byte{7}));
  const auto there = base.at("Key");
  CHECK(to_bytes(base.editor.hive().class_name(there).value()) == key.entry.class_name);
  CHECK(to_bytes(base.editor.hive().security(there).value()) == key.entry.security);
  CHECK(there.subkey_count == 1);
}

TEST_CASE("subkeys may come before their parents, and what is complete stays as it was") {
  Base base;
  base.add({state("A\\B", true, {{"v", 4, 4, Bytes(4)}}), state("A", true), state("", true)});
  for (const char* path : {"", "A", "A\\B"}) CHECK(base.complete(path));
  base.add({state("A\\B", true, {{"v", 4, 4, Bytes(4, std::byte{9})}}), state("A", false)});
  CHECK(base.complete("A"));
  CHECK(base.value("A\\B", "v") == Bytes(4));
}

TEST_CASE("long values are asked for; when they cannot be had the key stays a placeholder without values") {
  Base base;
  const profile::RegistryValue large{"large", 3, 50'000, {}};
  const auto key = state("K", true, {{"small", 4, 4, Bytes(4)}, large});
  const auto failed = add_to_base_hive(base.editor, {key}, nothing_to_read);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == ErrorCode::unavailable);
  CHECK_FALSE(base.complete("K"));
  CHECK(base.at("K").value_count == 0);
  const auto short_answer = [](const KeyPath&, const profile::RegistryValue&) {
    return Result<Bytes>(Bytes(10));
  };
  REQUIRE_FALSE(add_to_base_hive(base.editor, {key}, short_answer));
  CHECK(base.at("K").value_count == 0);
  base.add({key}, [](const KeyPath& path, const profile::RegistryValue& value) {
    CHECK(path.text() == "K");
    return Result<Bytes>(Bytes(value.size_bytes, std::byte{5}));
  });
  CHECK(base.value("K", "large") == Bytes(50'000, std::byte{5}));
}

TEST_CASE("each hive of a session has its own base hive, beside the journal") {
  const auto session = Guid::random();
  const auto user = base_hive_path("ProgramData/Roamstead/p.journal", session, profile::hive_paths()[0]);
  const auto classes = base_hive_path("ProgramData/Roamstead/p.journal", session, profile::hive_paths()[1]);
  CHECK(user == "ProgramData/Roamstead/registry/" + session.to_string() + "-user.base");
  CHECK(classes == "ProgramData/Roamstead/registry/" + session.to_string() + "-classes.base");
}

}  // namespace
}  // namespace roamstead::extract
