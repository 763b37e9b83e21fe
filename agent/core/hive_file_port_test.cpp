#include "agent/core/hive_file_port.h"

#include <doctest/doctest.h>

#include "agent/testing/hive_model.h"
#include "agent/testing/plain_volume.h"
#include "common/registry/test_hive.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/must.h"

namespace roamstead::agent {
namespace {

using support::CrashFileSystem;
using testing::model_of_hive;
using testing::PlainVolume;

constexpr const char* kPath = "profile/NTUSER.DAT";

using support::must;

Bytes content(os::FileSystem& files, const std::string& path) {
  return must(os::read_file(files, path, 1 << 26));
}

void write(os::FileSystem& files, const std::string& path, ByteView bytes) {
  must(os::write_file_durably(files, path, bytes));
}

struct Fixture {
  explicit Fixture(os::FileSystem& files) : volume(files) {}
  PlainVolume volume;
  unsigned staged = 0;
  HiveFilePort port{volume, [this] { return "staging/" + std::to_string(++staged); }};
  profile::Entry file;

  std::unique_ptr<MountedHive> mount() { return must(port.mount(kPath, file)); }
};

profile::KeyEntry entry(std::uint64_t time, unsigned control = 0) {
  return {to_bytes(std::as_bytes(std::span(u"class", 5))), time, registry::test::descriptor(control)};
}

// Keys and values as the tests below make them.
void edit(MountedHive& hive) {
  const auto root = must(hive.root());
  const auto key = must(hive.create(root, "Größe", entry(7, 3)));
  must(hive.set_value(key, "", 1, as_bytes("x\0")));
  must(hive.set_value(key, "big", 3, Bytes(40'000, std::byte{9})));
  must(hive.create(key, "sub", entry(9)));
}

TEST_CASE("a hive is made, filled, saved and mounted again") {
  CrashFileSystem files;
  Fixture f(files);
  const auto made = must(f.port.make(kPath, f.file, entry(5, 1)));
  edit(*made);
  CHECK_FALSE(must(files.exists(kPath)));
  must(made->save());
  const auto model = model_of_hive(content(files, kPath));
  CHECK(model.nodes().size() == 3);
  const auto* key = model.find(profile::KeyPath::parse("größe").value());
  REQUIRE(key != nullptr);
  CHECK(key->entry == entry(7, 3));
  CHECK(model.find({})->entry == entry(5, 1));
  CHECK(key->values.at("BIG").data == Bytes(40'000, std::byte{9}));
  const auto again = f.mount();
  const auto there = must(again->open(must(again->root()), "GRÖSSE"));
  CHECK_FALSE(there);
  const auto found = must(again->open(must(again->root()), "GRÖßE"));
  REQUIRE(found);
  const auto listing = must(again->enumerate(*found));
  CHECK(listing.subkeys == std::vector<std::string>{"sub"});
  CHECK(listing.values.size() == 2);
  CHECK(must(again->has_value(*found, "Big")));
  CHECK(f.port.make(kPath, f.file, entry(5))->get() != nullptr);
  CHECK(must(f.port.make(kPath, f.file, entry(5)))->save().error().code == ErrorCode::exists);
}

TEST_CASE("what the port changes leaves the times of keys alone") {
  CrashFileSystem files;
  Fixture f(files);
  auto hive = must(f.port.make(kPath, f.file, entry(5)));
  edit(*hive);
  must(hive->save());
  hive = f.mount();
  const auto key = *must(hive->open(must(hive->root()), "größe"));
  must(hive->set_value(key, "more", 4, Bytes(4)));
  must(hive->delete_value(key, "big"));
  must(hive->set_entry(key, entry(99, 4)));
  must(hive->delete_key(*must(hive->open(key, "sub"))));
  must(hive->save());
  const auto model = model_of_hive(content(files, kPath));
  const auto* node = model.find(profile::KeyPath::parse("größe").value());
  CHECK(node->entry == entry(7, 4));
  CHECK(node->values.size() == 2);
  CHECK(model.find({})->entry.written_100ns == 5);
  CHECK(model.nodes().size() == 2);
}

TEST_CASE("a dirty hive is mounted as its logs have it, and saved clean; without its logs it is refused") {
  CrashFileSystem files;
  Fixture f(files);
  auto before = registry::test::sample_hive();
  auto editor = must(registry::Editor::open(before, "before"));
  const auto root = must(editor.hive().root()).cell;
  must(editor.create_path(root, "late"));
  editor.finish();
  const auto after = to_bytes(editor.file());
  constexpr std::uint32_t kSequence = 10;
  registry::test::make_dirty(before, kSequence);
  write(files, kPath, before);
  CHECK(f.port.mount(kPath, f.file).error().code == ErrorCode::corrupt);
  write(files, std::string(kPath) + ".log1",
        registry::test::new_log(after, {registry::test::entry_between(before, after, kSequence)}));
  const auto hive = f.mount();
  REQUIRE(must(hive->open(must(hive->root()), "late")));
  must(hive->save());
  const auto model = model_of_hive(content(files, kPath));
  CHECK(model.find(profile::KeyPath::parse("late").value()) != nullptr);
}

TEST_CASE("what is no hive is refused, and a hive changed meanwhile is not overwritten") {
  CrashFileSystem files;
  Fixture f(files);
  CHECK(f.port.mount(kPath, f.file).error().code == ErrorCode::not_found);
  write(files, kPath, as_bytes("short"));
  CHECK_FALSE(f.port.mount(kPath, f.file));
  write(files, kPath, Bytes(8192, std::byte{3}));
  CHECK_FALSE(f.port.mount(kPath, f.file));
  write(files, kPath, registry::test::sample_hive());
  const auto hive = f.mount();
  edit(*hive);
  const auto other = registry::test::sample_hive(5, 900);
  write(files, kPath, other);
  CHECK(hive->save().error().code == ErrorCode::conflict);
  CHECK(content(files, kPath) == other);
  CHECK(must(files.list_directory("staging")).empty());
}

TEST_CASE("an interrupted save leaves the old hive or the new one, whatever the crash point") {
  CrashFileSystem start;
  {
    Fixture f(start);
    write(start, kPath, registry::test::sample_hive());
  }
  const auto old_model = model_of_hive(content(start, kPath));
  std::size_t old_ones = 0, new_ones = 0;
  for (std::uint64_t point = 0;; ++point) {
    auto files = start.clone();
    Fixture f(*files);
    const auto hive = f.mount();
    edit(*hive);
    files->crash_after(files->operations() + point);
    const bool saved = hive->save().has_value();
    const bool crashed = files->crashed();
    files->power_loss(point * 17 + 3);
    const auto model = model_of_hive(content(*files, kPath));
    const bool is_old = testing::difference(old_model, model, true).empty();
    const bool is_new = model.nodes().size() == old_model.nodes().size() + 2;
    CHECK((is_old || is_new));
    if (saved) CHECK(is_new);
    (is_old ? old_ones : new_ones) += 1;
    if (!crashed) break;
  }
  CHECK(old_ones > 3);
  CHECK(new_ones > 0);
}

}  // namespace
}  // namespace roamstead::agent
