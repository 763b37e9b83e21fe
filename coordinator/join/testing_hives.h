// SYSTEM, SECURITY and SAM hives as a freshly installed Windows has them, as far as joining looks, made here.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/text.h"
#include "common/registry/editor.h"
#include "common/registry/test_hive.h"
#include "coordinator/compose/edit.h"
#include "coordinator/join/ciphers.h"
#include "coordinator/join/lsa.h"
#include "coordinator/join/sid.h"
#include "tests/support/must.h"

namespace roamstead::join::testing {

inline void put(registry::Editor& editor, std::string_view path, std::string_view name, std::uint32_t type,
                ByteView data) {
  const auto root = support::must(editor.hive().root()).cell;
  const auto key = support::must(editor.create_path(root, path));
  support::must(editor.set_value(key, support::must(to_utf16(name)), type, data));
}

inline Bytes finished(registry::Editor editor) {
  editor.finish();
  return std::move(editor).take();
}

// The boot key that these classes hold, by the published permutation.
inline constexpr std::u16string_view kClasses[] = {u"01234567", u"89abcdef", u"0a1b2c3d", u"4e5f6071"};
inline SecretBytes expected_boot_key() {
  constexpr unsigned kKey[] = {0x0a, 0xab, 0x89, 0x45, 0x3d, 0x1b, 0x5f, 0x67,
                               0x01, 0xcd, 0x23, 0x4e, 0x60, 0x2c, 0x71, 0xef};
  SecretBytes key;
  for (const auto byte : kKey) key.push_back(static_cast<std::byte>(byte));
  return key;
}

inline registry::Editor system_hive(std::uint32_t secure_boot = 1) {
  auto editor =
      support::must(registry::Editor::create(5, "ROOT", registry::test::descriptor(), registry::test::kTime));
  put(editor, "Select", "Current", 4, compose::registry_number(1));
  put(editor, "Select", "Default", 4, compose::registry_number(1));
  const std::string lsa = "ControlSet001\\Control\\Lsa";
  put(editor, lsa, "SecureBoot", 4, compose::registry_number(secure_boot));
  const char* const names[] = {"JD", "Skew1", "GBG", "Data"};
  for (std::size_t i = 0; i < 4; ++i) {
    const auto root = support::must(editor.hive().root()).cell;
    const auto key = support::must(editor.create_path(root, lsa + "\\" + names[i]));
    support::must(editor.set_class(key, std::as_bytes(std::span(kClasses[i].data(), kClasses[i].size()))));
  }
  put(editor, "ControlSet001\\Control\\ComputerName\\ComputerName", "ComputerName", 1,
      compose::registry_string("GOLDEN"));
  put(editor, "ControlSet001\\Services\\Netlogon", "Start", 4, compose::registry_number(3));
  return editor;
}

inline LsaKeys aes_keys() {
  LsaKeys keys;
  for (int i = 0; i < 2; ++i) {
    LsaKey key{Guid::random(), SecretBytes(32)};
    fill_random(key.key);
    keys.keys.push_back(std::move(key));
  }
  return keys;
}

// Its lists are sorted as those of version 1.3 (SECURITY and SAM of Windows 7) or 1.5 (Windows 10).
inline registry::Editor security_hive(const LsaKeys& keys, std::uint32_t minor_version = 5) {
  auto editor = support::must(
      registry::Editor::create(minor_version, "ROOT", registry::test::descriptor(), registry::test::kTime));
  put(editor, "Policy\\PolEKList", "", 0, support::must(seal_key_list(keys, expected_boot_key())));
  put(editor, "Policy\\Secrets", "", 0, {});
  put(editor, "Policy\\Secrets\\DPAPI_SYSTEM\\CurrVal", "", 0,
      support::must(seal_secret(keys, Bytes(44, std::byte{9}))));
  for (const auto* name : {"PolPrDmS", "PolDnDDN", "PolDnTrN", "PolMachineAccountR", "PolMachineAccountS"})
    put(editor, std::string("Policy\\") + name, "", 0, {});
  put(editor, "Policy\\PolDnDmG", "", 0, Bytes(16));
  return editor;
}

// As Windows XP and Server 2003 have it: PolSecretEncryptionKey, the LSA's key in its last 16 bytes.
inline registry::Editor old_security_hive() {
  auto editor =
      support::must(registry::Editor::create(3, "ROOT", registry::test::descriptor(), registry::test::kTime));
  Bytes sealed(76), clear(48);
  fill_random(MutableByteView(sealed).subspan(60));
  fill_random(clear);
  const auto stretched = support::must(md5_thousand(expected_boot_key(), ByteView(sealed).subspan(60)));
  const auto cipher = support::must(rc4(stretched, clear));
  std::copy(cipher.begin(), cipher.end(), sealed.begin() + 12);
  put(editor, "Policy\\PolSecretEncryptionKey", "", 0, sealed);
  put(editor, "Policy\\Secrets", "", 0, {});
  const auto keys = support::must(lsa_keys(editor.hive(), expected_boot_key()));
  // secretsdump looks for this one whatever it is asked.
  put(editor, "Policy\\Secrets\\NL$KM\\CurrVal", "", 0,
      support::must(seal_secret(keys, Bytes(64, std::byte{1}))));
  return editor;
}

// An alias with these members, its name between header and members.
inline Bytes alias_value(std::uint32_t rid, std::string_view name, const std::vector<Sid>& members) {
  auto text = compose::registry_string(name);
  text.resize((text.size() + 3) / 4 * 4);
  Bytes sids;
  for (const auto& member : members) {
    const auto bytes = member.to_bytes();
    sids.insert(sids.end(), bytes.begin(), bytes.end());
  }
  Bytes data(0x34);
  const auto word = [&](std::size_t at, std::size_t value) {
    store_le<std::uint32_t>(data, at, static_cast<std::uint32_t>(value));
  };
  word(0, rid);
  word(0x0c, 0x00010003);
  word(0x14, 2 * name.size());
  word(0x1c, text.size());
  word(0x28, text.size());
  word(0x2c, sids.size());
  word(0x30, members.size());
  data.insert(data.end(), text.begin(), text.end());
  data.insert(data.end(), sids.begin(), sids.end());
  return data;
}

inline Sid machine_sid() { return support::must(Sid::parse("S-1-5-21-1001-1002-1003")); }

inline registry::Editor sam_hive(std::uint32_t minor_version = 3) {
  auto editor = support::must(
      registry::Editor::create(minor_version, "ROOT", registry::test::descriptor(), registry::test::kTime));
  const auto four = [](std::uint32_t alias) { return compose::registry_number(alias); };
  const std::string aliases = "SAM\\Domains\\Builtin\\Aliases\\";
  const auto administrator = machine_sid().child(500);
  const auto authenticated = support::must(Sid::parse("S-1-5-11"));
  put(editor, aliases + "00000220", "C", 3, alias_value(0x220, "Administrators", {administrator}));
  put(editor, aliases + "00000221", "C", 3, alias_value(0x221, "Users", {authenticated}));
  put(editor, aliases + "Members", "", 1, {});
  put(editor, aliases + "Members\\S-1-5", "", 1, {});
  put(editor, aliases + "Members\\S-1-5\\0000000B", "", 1, four(0x221));
  put(editor, aliases + "Members\\" + machine_sid().to_string(), "", 1, {});
  put(editor, aliases + "Members\\" + machine_sid().to_string() + "\\000001F4", "", 1, four(0x220));
  return editor;
}

// As the customisation does it: what one hive's edits say.
inline void apply(registry::Editor& editor, compose::HiveId hive,
                  const std::vector<compose::RegistryEdit>& edits) {
  for (const auto& edit : edits)
    if (edit.hive == hive) put(editor, edit.key, edit.name, edit.type, edit.data);
  editor.finish();
}

}  // namespace roamstead::join::testing
