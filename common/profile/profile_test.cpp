#include <doctest/doctest.h>

#include "common/base/archive.h"
#include "common/profile/batch.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::profile;

static ProfilePath path(std::string_view text) { return ProfilePath::parse(text).value(); }

TEST_CASE("a profile path has names that NTFS can hold") {
  CHECK(path("a/b").parent() == path("a"));
  CHECK(path("a/b").name() == "b");
  CHECK(path("a").child("ü") == path("a/ü"));
  CHECK(path("a/b/c").components().size() == 3);
  CHECK(path("a/b").is_within(path("a")));
  CHECK_FALSE(path("ab").is_within(path("a")));
  for (auto bad : {"/a", "a/", "a//b", "a/../b", ".", "a\\b", "a:b", "\xff"})
    CHECK_FALSE(ProfilePath::parse(bad));
  CHECK_FALSE(ProfilePath::parse(std::string(256, 'x')));
  CHECK(ProfilePath::parse(std::string(255, 'x')));
}

static Batch sample() {
  Batch batch;
  batch.incarnation = Guid::random();
  batch.ordinal = 3;
  Put put;
  put.path = path("Documents/a.txt");
  put.entry.size_bytes = 100;
  put.entry.streams = {{"Zone.Identifier", 26}};
  put.base = path("Documents/b.txt");
  put.contents = {{"", 100, {{0, 10}, {50, 50}}}};
  batch.records = {Delete{path("x")}, Move{path("y"), path("z")}, put};
  batch.held_back = {{"q", "cluster with two owners"}};
  return batch;
}

TEST_CASE("a batch survives encoding, and no cut or flipped encoding crashes or becomes huge") {
  auto batch = sample();
  auto bytes = encode(batch);
  CHECK(decode<Batch>(bytes).value() == batch);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) CHECK_FALSE(decode<Batch>(ByteView(bytes).first(cut)));
  auto random = support::seeded_random();
  for (int round = 0; round < 3000; ++round) {
    auto damaged = bytes;
    damaged[random() % damaged.size()] ^= static_cast<std::byte>(1 + random() % 255);
    auto result = decode<Batch>(damaged);
    if (result) (void)check_batch(*result);
  }
}

TEST_CASE("a batch that contradicts itself is refused") {
  CHECK(check_batch(sample()));
  auto twice = sample();
  twice.records.push_back(Move{path("x"), path("w")});
  CHECK_FALSE(check_batch(twice));
  auto overlap = sample();
  std::get<Put>(overlap.records[2]).contents[0].writes = {{0, 10}, {5, 10}};
  CHECK_FALSE(check_batch(overlap));
  auto beyond = sample();
  std::get<Put>(beyond.records[2]).contents[0].writes = {{~std::uint64_t{0}, 2}};
  CHECK_FALSE(check_batch(beyond));
  auto root = sample();
  root.records.push_back(Delete{ProfilePath()});
  CHECK_FALSE(check_batch(root));
}
