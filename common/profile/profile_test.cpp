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

static KeyPath key(std::string_view text) { return KeyPath::parse(text).value(); }

TEST_CASE("a key path has names that a hive can hold") {
  CHECK(key("Software\\a/b:c").parent() == key("Software"));
  CHECK(key("A\\B").name() == "B");
  CHECK(key("").is_root());
  CHECK(key("A").child("ü") == key("A\\ü"));
  CHECK(key("A\\B").is_within(key("A")));
  CHECK_FALSE(key("AB").is_within(key("A")));
  CHECK(upcased(key("Soft\\ß")) == upcased(key("SOFT\\ß")));
  CHECK(KeyPath::parse(std::string_view("a\0b", 3)));
  for (auto bad : {"\\a", "a\\", "a\\\\b", "\xff"}) CHECK_FALSE(KeyPath::parse(bad));
  CHECK_FALSE(KeyPath::parse(std::string(256, 'x')));
  std::string deep = "k";
  for (std::size_t i = 1; i < kMaxKeyDepth; ++i) deep += "\\k";
  CHECK(key(deep).depth() == kMaxKeyDepth);
  CHECK_FALSE(KeyPath::parse(deep + "\\k"));
}

TEST_CASE("hives and their companions are told from files") {
  CHECK(classify_hive_file("ntuser.dat") == HiveFile::hive);
  CHECK(classify_hive_file("AppData/Local/Microsoft/Windows/USRCLASS.DAT") == HiveFile::hive);
  for (auto name :
       {"NTUSER.DAT.LOG", "ntuser.dat.LOG2", "NTUSER.DAT{53b39e88-18c4-11ea-a811-000d3aa4692b}.TM.blf",
        "NTUSER.DAT{53b39e88}.TMContainer00000000000000000001.regtrans-ms",
        "AppData/Local/Microsoft/Windows/UsrClass.dat.LOG1"})
    CHECK(classify_hive_file(name) == HiveFile::companion);
  for (auto name :
       {"NTUSER.DAT.bak", "NTUSER.DATA", "ntuser.ini", "Documents/NTUSER.DAT", "NTUSER.DAT/x", ""})
    CHECK(classify_hive_file(name) == HiveFile::none);
  CHECK(is_excluded_key(hive_paths()[0], key("volatile environment\\1")));
  CHECK_FALSE(is_excluded_key(hive_paths()[0], key("Volatile Environments")));
  CHECK_FALSE(is_excluded_key(hive_paths()[1], key("Volatile Environment")));
}

TEST_CASE("records of keys are encoded, counted and checked") {
  Batch batch;
  PutKey put;
  put.hive = hive_paths()[0];
  put.key = key("Software\\X");
  put.values = {{"small", 4, 4, Bytes(4)}, {"large", 3, 5000, {}}};
  put.deleted_values = {"old"};
  batch.records = {DeleteKey{hive_paths()[0], key("Software\\X")}, put};
  CHECK(check_batch(batch));
  CHECK(batch.content_bytes() == 5000);
  CHECK(decode<Batch>(encode(batch)).value() == batch);
  const auto refused = [&](auto change) {
    auto copy = put;
    change(copy);
    auto changed = batch;
    changed.records[1] = copy;
    return !check_batch(changed);
  };
  CHECK(refused([](PutKey& bad) { bad.deleted_values = {"SMALL"}; }));
  CHECK(refused([](PutKey& bad) { bad.values[0].data.clear(); }));
  CHECK(refused([](PutKey& bad) { bad.values[1].data.resize(5000); }));
  CHECK(refused([](PutKey& bad) { bad.values[1].name = "Small"; }));
  CHECK(refused([](PutKey& bad) { bad.hive = ProfilePath(); }));
  auto twice = batch;
  put.key = key("SOFTWARE\\x");
  twice.records.push_back(put);
  CHECK_FALSE(check_batch(twice));
  auto root = batch;
  root.records[0] = DeleteKey{hive_paths()[0], {}};
  CHECK_FALSE(check_batch(root));
}
