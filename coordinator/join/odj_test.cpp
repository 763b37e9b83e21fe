#include <doctest/doctest.h>

#include "coordinator/join/odj_blob.h"
#include "coordinator/join/testing_blob.h"
#include "tests/support/hostile.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::join;
using join::testing::equal;
using join::testing::sample_blob;
using support::must;

TEST_CASE("a blob is what was written, as data, as a file and as AccountData") {
  const auto blob = sample_blob();
  CHECK(equal(must(parse_odj_data(must(write_odj_data(blob)))), blob));
  const auto file = must(write_odj_file(blob));
  CHECK(load_le<std::uint16_t>(file) == 0xFEFF);
  CHECK(equal(must(parse_odj_text(file)), blob));
  auto text = must(write_account_data(blob));
  CHECK(equal(must(parse_odj_text(text)), blob));
  for (std::size_t at = 70; at < text.size(); at += 72)  // as XML files are wrapped
    text.insert(text.begin() + static_cast<std::ptrdiff_t>(at), std::byte{'\n'});
  CHECK(equal(must(parse_odj_text(text)), blob));
}

TEST_CASE("blobs without site, without other parts, of every length of password") {
  auto blob = sample_blob();
  blob.site.reset();
  blob.parts.clear();
  for (std::size_t units = 1; units <= 130; ++units) {
    blob.membership.machine_password.assign(2 * units, std::byte{0x21});
    CHECK(equal(must(parse_odj_text(must(write_odj_file(blob)))), blob));
  }
}

TEST_CASE("blobs that cannot be used are refused by name") {
  const auto good = must(write_odj_data(sample_blob()));
  const auto at_format = std::size_t{16 + 20};  // of the first blob in the array
  REQUIRE(load_le<std::uint32_t>(good, at_format) == 1);
  auto bad = good;
  store_le<std::uint32_t>(bad, 20, 2);
  CHECK(parse_odj_data(bad).error().to_string().find("version 2") != std::string::npos);
  bad = good;
  store_le<std::uint32_t>(bad, at_format, 9);
  store_le<std::uint32_t>(bad, at_format + 12, 9);
  CHECK(parse_odj_data(bad).error().code == ErrorCode::unsupported);
  // The package's encryption type is what follows its own top pointer.
  bad = good;
  const auto first_bytes = load_le<std::uint32_t>(good, at_format + 4);
  const auto package = at_format + 24 + 4 + first_bytes + 4;
  bad[package + 16 + 4] = std::byte{1};
  CHECK(parse_odj_data(bad).error().to_string().find("encrypted") != std::string::npos);
  auto unknown = sample_blob();
  unknown.parts[0].type = Guid::random();
  CHECK(parse_odj_data(must(write_odj_data(unknown))).error().to_string().find("essential") !=
        std::string::npos);
  unknown.parts[0].flags = 0;
  CHECK(parse_odj_data(must(write_odj_data(unknown))));
  for (const auto* text : {"", "!", "AAA", "QUJD=", "QUJDRA=A", "AAAAAAAAAAAAAAAAAAAAAA=="})
    CHECK_MESSAGE(!parse_odj_text(as_bytes(text)), text);
}

TEST_CASE("damaged blobs end in an answer or in an error, quickly") {
  auto random = support::seeded_random();
  const auto good = must(write_odj_data(sample_blob()));
  std::size_t errors = 0;
  for (int i = 0; i < 3000; ++i) {
    auto bad = to_bytes(ByteView(good));
    if (random() % 8 == 0) bad.resize(random() % bad.size());
    for (auto changes = 1 + random() % 3; changes != 0 && bad.size() >= 8; --changes) {
      const auto at = random() % (bad.size() - 4) / 4 * 4;
      store_le<std::uint32_t>(bad, at,
                              static_cast<std::uint32_t>(support::awkward_number(
                                  random, load_le<std::uint32_t>(bad, at), 4, bad.size())));
    }
    const auto result = parse_odj_data(bad);
    if (!result) {
      ++errors;
      CHECK(result.error().code != ErrorCode::internal);
      CHECK(result.error().to_string().size() > 10);
    } else {
      CHECK(write_odj_data(*result));
    }
  }
  CHECK(errors > 100);
}
