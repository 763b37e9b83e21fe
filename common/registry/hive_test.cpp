#include <doctest/doctest.h>

#include "common/registry/format.h"
#include "common/registry/marvin32.h"
#include "common/registry/name_view.h"
#include "common/registry/reg_text.h"
#include "common/registry/value_text.h"

namespace roamstead::registry {

TEST_CASE("Marvin32 gives the hashes of its published test vectors") {
  constexpr std::uint64_t kSeed = 0x004FB61A001BDBCC;
  CHECK(marvin32({}, kSeed) == 0x30ED35C100CD3C7D);
  const Bytes one = {std::byte{0xAF}};
  CHECK(marvin32(one, kSeed) == 0x48E73FC77D75DDC1);
}

TEST_CASE("times are shown as UTC to 100 ns") {
  CHECK(time_text(0).empty());
  CHECK(time_text(116444736000000000) == "1970-01-01T00:00:00.0000000Z");
  CHECK(time_text(116444736000000000 + std::uint64_t{951782400} * 10'000'000 + 1) ==
        "2000-02-29T00:00:00.0000001Z");
  CHECK(time_text(0x1D29627F1C8A860).starts_with("2017-03-06T"));
}

TEST_CASE("names are ordered by upcased units and hashed as lh lists hold it") {
  const NameView a(as_bytes("Alpha"), true);
  const NameView b(as_bytes("aLPHB"), true);
  const std::u16string wide_text = u"ALPHA";
  const NameView wide(std::as_bytes(std::span(wide_text.data(), wide_text.size())), false);
  CHECK(compare_upcased(a, b) < 0);
  CHECK(compare_upcased(a, wide) == 0);
  CHECK(!a.same_units(wide));
  CHECK(name_hash(a) == name_hash(wide));
  CHECK(name_hash(NameView(as_bytes("ab"), true)) == 'A' * 37 + 'B');
  CHECK(NameView(as_bytes("gr\xF6\xDF"), true).to_wtf8() == "größ");
}

TEST_CASE(".reg text is parsed with its comments, continued lines, deletions and both encodings") {
  const std::string text =
      "Windows Registry Editor Version 5.00\r\n\r\n; a comment\r\n[HKEY_X\\A]\r\n\"a \\\"b\\\" "
      "\\\\\"=\"x\"\r\n"
      "@=dword:0000002a\r\n\"h\"=hex(7):41,00,\\\r\n  00,00\r\n\"gone\"=-\r\n\"e\"=hex:\r\n[-HKEY_X\\B]\r\n";
  auto check = [](const std::vector<RegChange>& changes) {
    REQUIRE(changes.size() == 7);
    CHECK(changes[0].kind == RegChange::Kind::create_key);
    CHECK(changes[0].key == "HKEY_X\\A");
    CHECK(changes[1].value_name == "a \"b\" \\");
    CHECK(hex_text(changes[1].data) == "78000000");
    CHECK(changes[2].value_name.empty());
    CHECK(hex_text(changes[2].data) == "2a000000");
    CHECK(changes[3].type == 7);
    CHECK(hex_text(changes[3].data) == "41000000");
    CHECK(changes[4].kind == RegChange::Kind::delete_value);
    CHECK(changes[5].data.empty());
    CHECK(changes[5].type == 3);
    CHECK(changes[6].kind == RegChange::Kind::delete_key);
    CHECK(changes[6].line == 11);
  };
  check(parse_reg(as_bytes(text)).value());
  std::u16string wide = u"\xFEFF";
  for (const char c : text) wide += static_cast<char16_t>(c);
  check(parse_reg(std::as_bytes(std::span(wide.data(), wide.size()))).value());
}

TEST_CASE("wrong .reg text is refused with its line") {
  const std::string header = "Windows Registry Editor Version 5.00\n";
  for (const std::string text : {"[K]\n", "\"v\"=\"x\"\n", "[K\n", "[K]\n\"v\"\n", "[K]\n\"v=1\n",
                                 "[K]\n\"v\"=what\n", "[K]\n\"v\"=hex:0g\n", "[K]\n\"v\"=hex(:00\n",
                                 "[K]\n\"v\"=hex:00 11\n", "[K]\n\"v\"=\"x\" y\n", "[-K]\n\"v\"=\"x\"\n"}) {
    CAPTURE(text);
    const bool without_header = text == "[K]\n";
    const auto parsed = parse_reg(as_bytes(without_header ? text : header + text));
    REQUIRE(!parsed.has_value());
    CHECK(parsed.error().message.starts_with("line "));
  }
  CHECK(!parse_reg(as_bytes("REGEDIT4\n")).has_value());
  CHECK(!parse_reg(as_bytes("\x80")).has_value());
}

TEST_CASE("values are written as text and read back") {
  CHECK(hex_text(parse_value_text(1, "ab").value()) == "610062000000");
  CHECK(hex_text(parse_value_text(7, "a\nb").value()) == "61000000620000000000");
  CHECK(hex_text(parse_value_text(7, "").value()) == "0000");
  CHECK(hex_text(parse_value_text(4, "0x10").value()) == "10000000");
  CHECK(hex_text(parse_value_text(5, "16").value()) == "00000010");
  CHECK(hex_text(parse_value_text(11, "1").value()) == "0100000000000000");
  CHECK(hex_text(parse_value_text(3, "00ff").value()) == "00ff");
  CHECK(!parse_value_text(4, "4294967296").has_value());
  CHECK(!parse_value_text(3, "0").has_value());
  CHECK(value_text(4, parse_value_text(4, "42").value(), 99) == "0x0000002a (42)");
  CHECK(value_text(7, parse_value_text(7, "a\nb").value(), 99) == "a | b");
  CHECK(parse_type_name("reg_sz").value() == 1);
  CHECK(parse_type_name("0x220").value() == 0x220);
  CHECK(!parse_type_name("SZ").has_value());
  CHECK(type_name(0x220) == "0x00000220");
}

}  // namespace roamstead::registry
