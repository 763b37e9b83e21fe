#include "coordinator/join/direct.h"

#include <doctest/doctest.h>

#include "coordinator/join/sam.h"
#include "coordinator/join/testing_hives.h"

using namespace roamstead;
using namespace roamstead::join;
using compose::HiveId;
using support::must;

namespace {

Membership membership(std::string name) {
  Membership made;
  made.domain = {"corp.roam.test", "CORP", "roam.test",
                 must(Guid::parse("1e0e9d8c-0b7a-4a6f-9c5e-4d3c2b1a0f9e")),
                 must(Sid::parse("S-1-5-21-933435986-157096167-3479960315"))};
  made.machine_name = std::move(name);
  made.machine_password = random_machine_password();
  made.machine_rid = 1103;
  return made;
}

Bytes default_of(const registry::Editor& editor, const std::string& path, std::u16string_view name = u"") {
  const auto key = must(editor.hive().find(path));
  Bytes scratch;
  return to_bytes(must(editor.hive().data(must(editor.hive().find_value(key, name)).value(), scratch)));
}

}  // namespace

TEST_CASE("a joined machine holds its password, its domain and the domain's groups") {
  auto system = join::testing::system_hive();
  auto security = join::testing::security_hive(join::testing::aes_keys());
  auto sam = join::testing::sam_hive();
  const auto machine = membership("Vdi-0001");
  const auto edits =
      must(direct_join_edits(system.hive(), security.hive(), sam.hive(), machine, registry::test::kTime));
  for (const auto& edit : edits) CHECK(!edit.unit.empty());
  join::testing::apply(system, HiveId::system, edits);
  join::testing::apply(security, HiveId::security, edits);
  join::testing::apply(sam, HiveId::sam, edits);

  CHECK(must(machine_password(system.hive(), security.hive())) == machine.machine_password);
  CHECK(default_of(security, "Policy\\PolPrDmS") == machine.domain.sid.to_bytes());
  CHECK(default_of(security, "Policy\\PolMachineAccountS") == machine.domain.sid.child(1103).to_bytes());
  CHECK(default_of(security, "Policy\\PolMachineAccountR") == compose::registry_number(1103));
  const auto name = default_of(security, "Policy\\PolAcDmN");
  CHECK(load_le<std::uint16_t>(name, 0) == 16);
  CHECK(load_le<std::uint16_t>(name, 2) == 18);
  CHECK(load_le<std::uint32_t>(name, 4) == 8);
  CHECK(utf16le_to_wtf8(ByteView(name).subspan(8, 16)) == "VDI-0001");
  CHECK(load_le<std::uint64_t>(default_of(security, "Policy\\Secrets\\$MACHINE.ACC\\CupdTime")) ==
        registry::test::kTime);
  const auto secret = must(security.hive().find("Policy\\Secrets\\$MACHINE.ACC"));
  CHECK(must(security.hive().find_value(secret, u"")).value().type == 4);
  CHECK(registry::check_descriptor(default_of(security, "Policy\\Secrets\\$MACHINE.ACC\\SecDesc")));
  CHECK(must(alias_members(sam.hive(), kAdministratorsAlias)).back() == machine.domain.sid.child(512));
  CHECK(default_of(system, "ControlSet001\\Services\\Netlogon", u"Start") == compose::registry_number(2));
  CHECK(default_of(system, "ControlSet001\\Control\\ComputerName\\ComputerName", u"ComputerName") ==
        compose::registry_string("VDI-0001"));
}

TEST_CASE(
    "a clone's own edits are of the same places and sizes for every clone, and never more than reserved") {
  auto system = join::testing::system_hive();
  auto security = join::testing::security_hive(join::testing::aes_keys());
  auto sam = join::testing::sam_hive();
  const auto join = must(DirectJoin::open(system.hive(), security.hive(), sam.hive()));
  const auto first = must(join.own(membership("VDI-0001"), 1));
  const auto second = must(join.own(membership("VDI-0002"), 2));
  auto unknown_account = membership("X");
  unknown_account.machine_rid.reset();
  const auto shortest = must(join.own(unknown_account, 3));
  const auto longest = must(join.own(membership("ABCDEFGHIJ-2345"), 3));
  REQUIRE(first.size() == second.size());
  REQUIRE(first.size() == shortest.size());
  REQUIRE(first.size() == longest.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    for (const auto* other : {&second[i], &shortest[i], &longest[i]}) {
      CHECK(other->edit.key == first[i].edit.key);
      CHECK(other->edit.name == first[i].edit.name);
      CHECK(other->capacity_bytes == first[i].capacity_bytes);
    }
    CHECK(first[i].edit.data.size() == second[i].edit.data.size());
    CHECK(longest[i].edit.data.size() == longest[i].capacity_bytes);
    CHECK(shortest[i].edit.data.size() <= shortest[i].capacity_bytes);
  }
  CHECK(first[0].edit.data != must(join.own(membership("VDI-0001"), 1))[0].edit.data);
}

TEST_CASE("a Windows XP is joined too, without what it does not know") {
  auto system = join::testing::system_hive();
  auto security = join::testing::old_security_hive();
  auto sam = join::testing::sam_hive();
  const auto machine = membership("XP-1");
  const auto edits =
      must(direct_join_edits(system.hive(), security.hive(), sam.hive(), machine, registry::test::kTime));
  for (const auto& edit : edits) CHECK(edit.key.find("PolMachineAccount") == std::string::npos);
  join::testing::apply(security, HiveId::security, edits);
  CHECK(must(machine_password(system.hive(), security.hive())) == machine.machine_password);
}

TEST_CASE("memberships that cannot be are refused before anything is computed") {
  auto system = join::testing::system_hive();
  auto security = join::testing::security_hive(join::testing::aes_keys());
  auto sam = join::testing::sam_hive();
  const auto join = must(DirectJoin::open(system.hive(), security.hive(), sam.hive()));
  const auto refused = [&](auto change) {
    auto machine = membership("VDI-0001");
    change(machine);
    CHECK(join.own(machine, 1).error().code == ErrorCode::invalid_argument);
  };
  for (const auto* name : {"", "ABCDEFGHIJ-23456", "1234", "-A", "A-", "A B", "Ä", "A.B", "A$"})
    refused([&](Membership& m) { m.machine_name = name; });
  refused([](Membership& m) { m.machine_password.clear(); });
  refused([](Membership& m) { m.machine_password.resize(3); });
  refused([](Membership& m) { m.machine_password.resize(514); });
  refused([](Membership& m) { m.domain.sid.parts.pop_back(); });
  refused([](Membership& m) { m.domain.guid = {}; });
  refused([](Membership& m) { m.domain.dns_name = "corp..test"; });
  refused([](Membership& m) { m.domain.netbios_name = ""; });
}

TEST_CASE("hives of two machines are refused") {
  auto system = join::testing::system_hive();
  auto sam = join::testing::sam_hive();
  auto keys = join::testing::aes_keys();
  auto security = join::testing::security_hive(keys);
  keys.keys[0].key[0] ^= std::byte{1};
  join::testing::put(security, "Policy\\PolEKList", "", 0,
                     must(seal_key_list(keys, join::testing::expected_boot_key())));
  const auto opened = DirectJoin::open(system.hive(), security.hive(), sam.hive());
  REQUIRE(!opened);
  CHECK(opened.error().to_string().find("DPAPI_SYSTEM") != std::string::npos);
}
