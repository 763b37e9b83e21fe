#include "coordinator/join/sam.h"

#include <doctest/doctest.h>

#include "coordinator/join/testing_hives.h"

using namespace roamstead;
using namespace roamstead::join;
using support::must;

namespace {

Sid domain() { return must(Sid::parse("S-1-5-21-933435986-157096167-3479960315")); }

const registry::Value& value_of(const registry::Editor& editor, const std::string& path,
                                registry::Value& into) {
  const auto key = must(editor.hive().find("SAM\\Domains\\Builtin\\Aliases\\Members\\" + path));
  into = must(editor.hive().find_value(key, u"")).value();
  return into;
}

}  // namespace

TEST_CASE("SIDs are read and written as text and as bytes") {
  CHECK(domain().to_string() == "S-1-5-21-933435986-157096167-3479960315");
  CHECK(must(Sid::from(domain().to_bytes())) == domain());
  CHECK(domain().is_domain());
  CHECK(!domain().child(512).is_domain());
  for (const auto* bad : {"", "S-1-", "S-2-5-21", "S-1-5-", "S-1-5-x", "S-1-5-4294967296",
                          "S-1-5-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1"})
    CHECK_MESSAGE(!Sid::parse(bad), bad);
  auto bytes = domain().to_bytes();
  bytes[1] = std::byte{16};
  CHECK(!Sid::first_of(bytes));
  bytes[1] = std::byte{5};
  CHECK(!Sid::first_of(bytes));
  CHECK(!Sid::first_of(Bytes(3)));
}

TEST_CASE("a group becomes a member in the alias and in the index") {
  auto editor = join::testing::sam_hive();
  const AliasMember additions[] = {{kAdministratorsAlias, domain().child(512)},
                                   {kUsersAlias, domain().child(513)},
                                   {kUsersAlias, domain().child(512)}};
  const auto edits = must(alias_member_edits(editor.hive(), additions));
  join::testing::apply(editor, compose::HiveId::sam, edits);
  const auto administrators = must(alias_members(editor.hive(), kAdministratorsAlias));
  REQUIRE(administrators.size() == 2);
  CHECK(administrators[0] == join::testing::machine_sid().child(500));
  CHECK(administrators[1] == domain().child(512));
  CHECK(must(alias_members(editor.hive(), kUsersAlias)).size() == 3);

  registry::Value value;
  Bytes scratch;
  CHECK(value_of(editor, "", value).type == 2);  // one domain more
  CHECK(value_of(editor, domain().to_string(), value).type == 2);
  CHECK(value.data_bytes == 0);
  CHECK(value_of(editor, domain().to_string() + "\\00000200", value).type == 2);
  const auto aliases = must(editor.hive().data(value, scratch));
  CHECK(load_le<std::uint32_t>(aliases, 0) == 0x220);
  CHECK(load_le<std::uint32_t>(aliases, 4) == 0x221);
  CHECK(value_of(editor, domain().to_string() + "\\00000201", value).type == 1);

  // Doing it again changes nothing.
  for (const auto& edit : must(alias_member_edits(editor.hive(), additions))) {
    const auto key = must(editor.hive().find(edit.key));
    const auto there = must(editor.hive().find_value(key, must(to_utf16(edit.name)))).value();
    const auto data = must(editor.hive().data(there, scratch));
    CHECK(there.type == edit.type);
    CHECK(std::equal(data.begin(), data.end(), edit.data.begin(), edit.data.end()));
  }
}

TEST_CASE("members that are not last in their alias move to its end; an empty alias gets its first") {
  auto editor = join::testing::sam_hive();
  const std::string path = "SAM\\Domains\\Builtin\\Aliases\\00000220";
  auto data = join::testing::alias_value(0x220, "Administrators", {join::testing::machine_sid().child(500)});
  data.resize(data.size() + 7, std::byte{0xee});
  join::testing::put(editor, path, "C", 3, data);
  join::testing::put(editor, "SAM\\Domains\\Builtin\\Aliases\\00000221", "C", 3,
                     join::testing::alias_value(0x221, "Users", {}));
  const AliasMember additions[] = {{kAdministratorsAlias, domain().child(512)},
                                   {kUsersAlias, domain().child(513)}};
  join::testing::apply(editor, compose::HiveId::sam, must(alias_member_edits(editor.hive(), additions)));
  CHECK(must(alias_members(editor.hive(), kAdministratorsAlias)).size() == 2);
  CHECK(must(alias_members(editor.hive(), kUsersAlias)) == std::vector<Sid>{domain().child(513)});
}

TEST_CASE("damaged aliases are refused with their place") {
  auto editor = join::testing::sam_hive();
  const std::string path = "SAM\\Domains\\Builtin\\Aliases\\00000220";
  const auto good =
      join::testing::alias_value(0x220, "Administrators", {join::testing::machine_sid().child(500)});
  const auto refused = [&](Bytes data) {
    join::testing::put(editor, path, "C", 3, data);
    const auto result = alias_members(editor.hive(), kAdministratorsAlias);
    REQUIRE(!result);
    CHECK(result.error().code == ErrorCode::corrupt);
    CHECK(result.error().to_string().find(path) != std::string::npos);
  };
  refused(Bytes(0x33));
  refused(Bytes(good.begin(), good.end() - 1));
  for (const auto& [at, number] : {std::pair(0x28, 0xfffffff0u), {0x2c, 0xffffffffu}, {0x30, 0xffffffffu}}) {
    auto bad = good;
    store_le<std::uint32_t>(bad, static_cast<std::size_t>(at), number);
    refused(bad);
  }
  CHECK(alias_members(editor.hive(), 1234).error().code == ErrorCode::not_found);
}
