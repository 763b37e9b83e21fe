#include "coordinator/join/lsa.h"

#include <doctest/doctest.h>

#include <random>

#include "common/base/sha256.h"
#include "coordinator/join/ciphers.h"
#include "coordinator/join/testing_hives.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::join;
using support::must;

namespace {

Bytes hex(std::string_view text) {
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoul(std::string(text.substr(i, 2)), nullptr, 16)));
  return bytes;
}
bool same(ByteView a, ByteView b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

LsaKeys old_keys() {
  LsaKeys keys;
  keys.form = SealForm::des;
  keys.keys.push_back({Guid(), to_secret(hex("000102030405060708090a0b0c0d0e0f"))});
  return keys;
}

}  // namespace

TEST_CASE("ciphers agree with published test vectors") {
  // FIPS 197, appendix C.3; RFC 6229's key of 128 bits; a DES vector of NBS SP 500-20 whose key has its
  // parity bits out.
  CHECK(same(must(aes_blocks(hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
                             hex("00112233445566778899aabbccddeeff"), Direction::encrypt)),
             hex("8ea2b7ca516745bfeafc49904b496089")));
  CHECK(same(must(rc4(hex("0102030405060708090a0b0c0d0e0f10"), Bytes(16))),
             hex("9ac7cc9a609d1ef7b2932899cde41b97")));
  // 56 key bits of 0101…01 without parity are zeros; the plain text 8000000000000000 gives 95F8A5E5DD31D900.
  CHECK(same(must(des_blocks(Bytes(16), hex("8000000000000000"), Direction::encrypt)),
             hex("95f8a5e5dd31d900")));
}

TEST_CASE("DES blocks go through the key seven bytes at a time and start again with what is left") {
  const auto key = hex("00112233445566778899aabbccddeeff");
  // Blocks 1 and 2 take bytes 0-6 and 7-13; 2 bytes remain, so that block 3 begins at key[2].
  const auto all = must(des_blocks(key, Bytes(24), Direction::encrypt));
  const auto first_of = [&](std::size_t at) {
    Bytes shifted(key.begin() + static_cast<std::ptrdiff_t>(at), key.end());
    shifted.resize(16);
    return must(des_blocks(shifted, Bytes(8), Direction::encrypt));
  };
  CHECK(same(ByteView(all).subspan(0, 8), first_of(0)));
  CHECK(same(ByteView(all).subspan(8, 8), first_of(7)));
  CHECK(same(ByteView(all).subspan(16, 8), first_of(2)));
}

TEST_CASE("the boot key is put together from four classes") {
  auto editor = join::testing::system_hive();
  CHECK(must(control_set(editor.hive())) == "ControlSet001");
  CHECK(must(boot_key(editor.hive())) == join::testing::expected_boot_key());
}

TEST_CASE("a boot key that is not in the hive is refused by name") {
  const auto by_password = join::testing::system_hive(2), by_floppy = join::testing::system_hive(3);
  CHECK(boot_key(by_password.hive()).error().code == ErrorCode::unsupported);
  CHECK(boot_key(by_password.hive()).error().to_string().find("password") != std::string::npos);
  CHECK(boot_key(by_floppy.hive()).error().to_string().find("floppy") != std::string::npos);
}

TEST_CASE("damage of a SYSTEM hive is told with its place") {
  auto editor = join::testing::system_hive();
  const auto key = must(editor.hive().find("ControlSet001\\Control\\Lsa\\GBG")).cell;
  must(editor.set_class(key, std::as_bytes(std::span(u"12345", 5))));
  const auto error = boot_key(editor.hive()).error().to_string();
  CHECK(error.find("ControlSet001\\Control\\Lsa\\GBG") != std::string::npos);
  CHECK(error.find("hexadecimal") != std::string::npos);
  join::testing::put(editor, "Select", "Default", 4, compose::registry_number(2));
  CHECK(control_set(editor.hive()).error().code == ErrorCode::unsupported);
}

TEST_CASE("keys of the list open with the boot key alone") {
  const auto keys = join::testing::aes_keys();
  const auto editor = join::testing::security_hive(keys);
  const auto read = must(lsa_keys(editor.hive(), join::testing::expected_boot_key()));
  CHECK(read.form == SealForm::aes);
  REQUIRE(read.keys.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(read.keys[i].id == keys.keys[i].id);
    CHECK(read.keys[i].key == keys.keys[i].key);
  }
  const auto wrong = lsa_keys(editor.hive(), Bytes(16));
  REQUIRE(!wrong);
  CHECK(wrong.error().to_string().find("Policy\\PolEKList") != std::string::npos);
}

TEST_CASE("sealed records have the sizes that Windows gives them") {
  const auto keys = join::testing::aes_keys();
  for (const auto& [clear, sealed] : {std::pair(240, 332), {64, 156}, {44, 124}, {84, 172}, {0, 92}}) {
    const Bytes secret(static_cast<std::size_t>(clear), std::byte{5});
    CHECK(must(seal_secret(keys, secret)).size() == static_cast<std::size_t>(sealed));
    CHECK(sealed_bytes(SealForm::aes, secret.size()) == static_cast<std::size_t>(sealed));
  }
  const auto record = must(seal_secret(keys, Bytes(240, std::byte{5})));
  CHECK(all_zero(ByteView(record).last(16)));
  CHECK(!all_zero(ByteView(record).last(32).first(16)));
}

TEST_CASE("what is sealed is unsealed, in both forms, at every length") {
  auto random = support::seeded_random();
  for (const auto& keys : {join::testing::aes_keys(), old_keys()})
    for (std::size_t bytes = 0; bytes < 70; ++bytes) {
      Bytes secret(bytes);
      for (auto& byte : secret) byte = static_cast<std::byte>(random());
      const auto sealed = must(seal_secret(keys, secret));
      CHECK(sealed.size() == sealed_bytes(keys.form, bytes));
      CHECK(same(must(unseal_secret(keys, sealed)), secret));
    }
}

TEST_CASE("damaged secrets give errors or other bytes, never more than they hold") {
  auto random = support::seeded_random();
  for (const auto& keys : {join::testing::aes_keys(), old_keys()}) {
    const auto good = must(seal_secret(keys, Bytes(240, std::byte{7})));
    for (int i = 0; i < 400; ++i) {
      auto bad = good;
      bad.resize(random() % 4 == 0 ? random() % (bad.size() + 1) : bad.size());
      for (auto changes = random() % 4; changes != 0 && !bad.empty(); --changes)
        bad[random() % std::min<std::size_t>(bad.size(), 80)] = static_cast<std::byte>(random());
      const auto result = unseal_secret(keys, bad);
      if (result) CHECK(result->size() <= bad.size());
      if (!result) CHECK(result.error().code != ErrorCode::internal);
    }
  }
  auto stranger = join::testing::aes_keys();
  CHECK(unseal_secret(stranger, must(seal_secret(join::testing::aes_keys(), Bytes(8)))).error().code ==
        ErrorCode::corrupt);
}

TEST_CASE("a machine's password is 120 printable characters, each time others") {
  const auto one = random_machine_password(), two = random_machine_password();
  CHECK(one.size() == 240);
  CHECK(one != two);
  for (std::size_t i = 0; i < one.size(); i += 2) {
    const auto unit = load_le<std::uint16_t>(one, i);
    CHECK((unit > ' ' && unit < 0x7f && unit != '"'));
  }
}
