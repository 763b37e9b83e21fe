#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "common/base/archive.h"
#include "common/base/byte_range.h"
#include "common/base/crc32c.h"
#include "common/base/guid.h"
#include "common/base/host_port.h"
#include "common/base/text.h"
#include "tests/support/seed.h"

using namespace roamstead;

TEST_CASE("crc32c of the check string is the published value") {
  CHECK(crc32c(as_bytes("123456789")) == 0xE3069283);
  CHECK(crc32c(as_bytes("56789"), crc32c(as_bytes("1234"))) == 0xE3069283);
  CHECK(crc32c_by_table(as_bytes("123456789")) == 0xE3069283);
}

TEST_CASE("crc32c by instruction and by table agree at every length and alignment") {
  auto random = support::seeded_random();
  Bytes data(300);
  for (auto& byte : data) byte = static_cast<std::byte>(random());
  for (std::size_t start = 0; start < 9; ++start)
    for (std::size_t length = 0; start + length <= data.size(); ++length) {
      auto part = ByteView(data).subspan(start, length);
      auto previous = static_cast<std::uint32_t>(random());
      REQUIRE(crc32c(part, previous) == crc32c_by_table(part, previous));
    }
}

TEST_CASE("a GUID survives text and keeps the mixed byte order of disk formats") {
  auto guid = Guid::parse("{2DC27766-F623-4200-9D64-115E9BFD4A08}");
  REQUIRE(guid);
  CHECK(guid->to_string() == "2dc27766-f623-4200-9d64-115e9bfd4a08");
  CHECK(guid->bytes[0] == std::byte{0x66});
  CHECK(guid->bytes[8] == std::byte{0x9D});
  CHECK_FALSE(Guid::parse("2dc27766-f623-4200-9d64-115e9bfd4a0"));
  CHECK_FALSE(Guid::parse("2dc27766-f623-4200-9d64-115e9bfd4a0g"));
  CHECK(Guid::random() != Guid::random());
}

TEST_CASE("random bytes fill all they are asked for, and nothing beyond") {
  for (const std::size_t size : {0u, 1u, 64u, 100'000u}) {
    Bytes bytes(size + 16, std::byte{0});
    fill_random(MutableByteView(bytes).first(size));
    CHECK(std::all_of(bytes.end() - 16, bytes.end(), [](std::byte byte) { return byte == std::byte{0}; }));
    // Of 100,000 some 391 are zero by chance; a part that was left out would be many more.
    if (size > 1000) CHECK(std::count(bytes.begin(), bytes.end(), std::byte{0}) < 1000);
  }
}

TEST_CASE("host and port are told apart, and an IPv6 address needs its brackets") {
  CHECK(parse_host_port("desk.example:7420").value() == HostPort{"desk.example", 7420});
  CHECK(parse_host_port("127.0.0.1:0").value() == HostPort{"127.0.0.1", 0});
  CHECK(parse_host_port("[2001:db8::7]:65535").value() == HostPort{"2001:db8::7", 65535});
  for (const char* text : {"desk:1", "127.0.0.1:65535", "[::1]:7420"})
    CHECK(to_string(parse_host_port(text).value()) == text);
  for (const char* text : {"", ":", "host", "host:", ":80", "host:65536", "host:-1", "host:+1", "host: 1",
                           "host:1x", "::1:80", "[::1]", "[]:80", "[host]:80", "[::1:80", "a:b:80"})
    CHECK_MESSAGE(!parse_host_port(text), text);
}

TEST_CASE("a set of ranges behaves like a set of bytes") {
  auto random = support::seeded_random();
  for (int round = 0; round < 200; ++round) {
    RangeSet set;
    std::vector<bool> model(200);
    for (int step = 0; step < 40; ++step) {
      auto offset = random() % 180;
      auto length = random() % 20;
      bool add = random() % 3 != 0;
      ByteRange range{offset, length};
      add ? set.add(range) : set.subtract(range);
      for (auto i = offset; i < offset + length; ++i) model[i] = add;
      auto probe = ByteRange{random() % 180, random() % 20};
      bool all = true;
      for (auto i = probe.offset; i < probe.end(); ++i) all = all && model[i];
      CHECK(set.contains(probe) == all);
      std::uint64_t covered = 0, missing = 0;
      for (auto part : set.covered(probe)) covered += part.length;
      for (auto part : set.missing(probe)) missing += part.length;
      CHECK(covered + missing == probe.length);
    }
    CHECK(set.total_bytes() == static_cast<std::uint64_t>(std::count(model.begin(), model.end(), true)));
    auto ranges = set.ranges();
    for (std::size_t i = 1; i < ranges.size(); ++i) CHECK(ranges[i - 1].end() < ranges[i].offset);
  }
}

TEST_CASE("ill-formed UTF-16 survives WTF-8 and ill-formed WTF-8 is refused") {
  std::u16string names[] = {u"plain", u"Größe \U0001F600", std::u16string(1, char16_t{0xD800}),
                            std::u16string{char16_t{0xDC00}, char16_t{0xD800}, u'x'}};
  for (const auto& name : names) {
    auto back = to_utf16(to_wtf8(name));
    REQUIRE(back);
    CHECK(*back == name);
  }
  CHECK_FALSE(to_utf16("\xC0\x80"));
  CHECK_FALSE(to_utf16("\xF5\x80\x80\x80"));
  CHECK_FALSE(to_utf16("\xED\xA0\x80\xED\xB0\x80"));  // a pair in two parts
  CHECK_FALSE(to_utf16("abc\xE2\x82"));
}

TEST_CASE("names are ordered by upcased UTF-16 code units and the order is total") {
  CHECK(compare_names("abc", "ABD") < 0);
  CHECK(compare_names("ABC", "abc") < 0);
  CHECK(compare_names("abc", "abc") == 0);
  CHECK(compare_names("_", "a") > 0);  // '_' is above 'A'
  CHECK(same_name("größe", "GRÖßE"));
  CHECK(same_name("Łódź", "łÓDŹ"));
  CHECK_FALSE(same_name("a", "b"));
  CHECK(compare_names("ab", "a") > 0);
}

TEST_CASE("an archive refuses lengths that the input cannot hold") {
  struct Sample {
    std::string name;
    std::vector<std::uint32_t> numbers;
  };
  auto bytes = encode(std::vector<std::string>{"one", "two"});
  auto back = decode<std::vector<std::string>>(bytes);
  REQUIRE(back);
  CHECK(*back == std::vector<std::string>{"one", "two"});
  for (std::size_t cut = 0; cut < bytes.size(); ++cut)
    CHECK_FALSE(decode<std::vector<std::string>>(ByteView(bytes).first(cut)));
  store_le<std::uint64_t>(bytes, 0, ~std::uint64_t{0} / 2);
  CHECK_FALSE(decode<std::vector<std::string>>(bytes));
  bytes.push_back(std::byte{0});
}
