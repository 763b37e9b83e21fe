#include "coordinator/repository/hive_place.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "coordinator/repository/page.h"

using namespace roamstead;
using namespace roamstead::repository;

namespace {

profile::KeyPath key_path(std::string_view text) { return profile::KeyPath::parse(text).value(); }
std::string long_name(char c) { return std::string(250, c); }

}  // namespace

TEST_CASE("places: names upcased and ended, values before subkeys, subtrees in one piece") {
  using namespace std::string_literals;
  CHECK(place_of({}).record == "\0"s);
  CHECK(place_of(key_path("Software\\größe")).record == "\0\2SOFTWARE\0\2GRÖßE\0"s);
  CHECK(place_of(key_path("n\0l"s)).record == "\0\2N\xC0\x80L\0"s);
  CHECK(value_place(place_of(key_path("a")), "Name") == "\0\2A\0\1NAME"s);
  CHECK(value_place(place_of({}), "") == "\0\1"s);
  std::vector<std::string> in_order = {
      place_of({}).record,
      value_place(place_of({}), "z"),
      place_of(key_path("a")).record,
      value_place(place_of(key_path("a")), "\xF0\x9F\x98\x80"),
      place_of(key_path("a\\z")).record,
      place_of(key_path("a\\z\\z")).record,
      place_of(key_path("a\x01")).record,
      place_of(key_path("ab")).record,
  };
  CHECK(std::is_sorted(in_order.begin(), in_order.end()));
}

TEST_CASE("places: what is too long is hashed, within its ancestors, children together") {
  const auto deep = key_path(long_name('a') + "\\" + long_name('b') + "\\" + long_name('c'));
  const auto anchor = place_of(deep);
  CHECK_FALSE(anchor.is_hashed());
  CHECK(anchor.anchor_depth == 3);
  const auto key = deep.child(long_name('D'));
  const auto place = place_of(key);
  CHECK(place.is_hashed());
  CHECK(place.record.starts_with(anchor.record));
  CHECK(place.record.starts_with(anchor.hashed_children()));
  CHECK(place.record.substr(place.record.size() - 32) == place.own_hash);
  const auto child = place_of(key.child("child"));
  CHECK(child.record.starts_with(place.hashed_children()));
  CHECK(child.anchor() == anchor.record);
  CHECK(place_of(deep.child(long_name('d'))).record == place.record);
  for (const auto& each : {place, child}) {
    CHECK(each.record.size() <= kMaxKeyBytes);
    CHECK(value_place(each, std::string(5000, 'v')).size() == kMaxKeyBytes);
    CHECK(value_place(each, std::string(5000, 'v')) != value_place(each, std::string(5001, 'v')));
    CHECK(value_place(each, std::string(5000, 'v')).starts_with(each.values()));
    const auto value = value_place(each, "x");
    auto parsed = parse_place(value).value();
    CHECK(parsed.record == each.record);
    CHECK(parsed.is_hashed);
    CHECK(parsed.is_value);
    CHECK(parsed.ends.size() == 4);
  }
}
