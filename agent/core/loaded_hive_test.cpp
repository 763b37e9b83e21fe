// Hives that programs have loaded, and hive files that are made of them: against models, with programs that
// come in between.
#include "agent/core/loaded_hive.h"

#include <doctest/doctest.h>

#include "agent/core/hive_edits.h"
#include "agent/core/hive_file_port.h"
#include "agent/core/hive_transfer.h"
#include "agent/testing/hive_model.h"
#include "agent/testing/memory_hive.h"
#include "agent/testing/plain_volume.h"
#include "common/registry/test_hive.h"
#include "tests/support/crash_file_system.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"

namespace roamstead::agent {
namespace {

using profile::KeyPath;
using support::KeyModel;
using support::must;
using testing::difference;
using testing::MemoryHive;
using testing::model_of_hive;

KeyPath key_of(const std::string& text) { return KeyPath::parse(text).value(); }

// A tree with odd names, types and sizes.
class Odd {
 public:
  explicit Odd(std::mt19937_64& random) : random_(random) {}

  std::size_t below(std::size_t bound) { return random_() % bound; }
  std::string name() {
    using namespace std::string_literals;
    static const std::vector<std::string> kNames{"a",    "B",          "c d", "Größe",
                                                 "файл", "with\0nul"s, "\0"s, "\xed\xa0\x80",
                                                 "x/y",  "%TEMP%",     "\"",  std::string(200, 'n')};
    return kNames[below(kNames.size())];
  }
  std::string value_name() {
    const auto kind = below(12);
    return kind == 0 ? "" : kind == 1 ? "back\\slash" : kind == 2 ? std::string(3000, 'v') : name();
  }
  std::uint32_t type() {
    static constexpr std::uint32_t kTypes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x10001, 0xfffffffe};
    return kTypes[below(std::size(kTypes))];
  }
  Bytes data() {
    static constexpr std::size_t kSizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 40, 4096, 4097, 17'000};
    Bytes bytes(kSizes[below(std::size(kSizes))]);
    for (auto& byte : bytes) byte = static_cast<std::byte>(random_());
    return bytes;
  }
  // A key of the model, the root among them.
  KeyPath some_key(const KeyModel& model) {
    auto it = model.nodes().begin();
    std::advance(it, static_cast<std::ptrdiff_t>(below(model.nodes().size())));
    return it->second.path;
  }
  void change(LoadedHive& hive, const KeyModel& model) {
    const auto key = some_key(model);
    switch (below(6)) {
      case 0:
      case 1:
        if (key.depth() < 6) static_cast<void>(hive.create(key.child(name()), {}));
        break;
      case 2:
        if (!key.is_root() && below(3) == 0) static_cast<void>(hive.delete_key(key));
        break;
      case 3:
        static_cast<void>(hive.delete_value(key, value_name()));
        break;
      default:
        must(hive.set_value(key, value_name(), type(), data()));
    }
  }

 private:
  std::mt19937_64& random_;
};

registry::Editor new_file() {
  return must(registry::Editor::create(5, "ROOT", registry::test::descriptor(), registry::test::kTime));
}

KeyModel model_of(registry::Editor& file) {
  file.finish();
  return model_of_hive(file.file());
}

MemoryHive new_hive() {
  MemoryHive hive;
  hive.model.at({}).entry.security = registry::test::descriptor();
  return hive;
}

HiveEdits edits_of(MemoryHive& hive) {
  HiveEdits::Host host;
  host.identity = [] { return extract::ItemIdentity{7, 0, 0}; };
  return HiveEdits(std::shared_ptr<LoadedHive>(std::shared_ptr<void>(), &hive), std::move(host));
}

TEST_CASE("a hive's file follows what programs do, and a hive made of the file is the same again") {
  auto random = support::seeded_random();
  Odd odd(random);
  for (int round = 0; round < 20; ++round) {
    TransferOptions options;
    options.security = round % 2 == 0;
    auto hive = new_hive();
    auto file = new_file();
    for (int step = 0; step < 8; ++step) {
      for (int i = 0; i < 30; ++i) odd.change(hive, hive.model);
      const auto before = hive.model;
      must(capture_hive(hive, file, options));
      CHECK(difference(before, hive.model, true) == "");
      CHECK(difference(hive.model, model_of(file), options.security) == "");
      const auto bytes = to_bytes(file.file());
      CHECK_FALSE(must(capture_hive(hive, file, options)));
      CHECK(to_bytes(file.file()) == bytes);
    }
    // Into another one, which holds something else.
    auto other = new_hive();
    for (int i = 0; i < 60; ++i) odd.change(other, other.model);
    must(restore_hive(file.hive(), other, options));
    CHECK(difference(hive.model, other.model, options.security) == "");
    CHECK_FALSE(must(capture_hive(other, file, options)));
  }
}

TEST_CASE("times come with what changed, and a key that only was touched changes nothing") {
  auto hive = new_hive();
  auto file = new_file();
  must(hive.create(key_of("A"), {}));
  must(hive.create(key_of("A\\B"), {}));
  must(capture_hive(hive, file, {}));
  auto model = model_of(file);
  CHECK(model.find(key_of("A"))->entry.written_100ns == hive.model.find(key_of("A"))->entry.written_100ns);
  must(hive.set_written(key_of("A"), 77));
  CHECK_FALSE(must(capture_hive(hive, file, {})));
  must(hive.set_value(key_of("A\\B"), "v", 4, Bytes(4)));
  must(hive.set_written(key_of("A\\B"), 88));
  CHECK(must(capture_hive(hive, file, {})));
  model = model_of(file);
  CHECK(model.find(key_of("A\\B"))->entry.written_100ns == 88);
  CHECK(model.find(key_of("A"))->entry.written_100ns != 77);
}

TEST_CASE("what is left out stays where it is, on either side") {
  TransferOptions options;
  options.leave_out = {key_of("SOFTWARE\\own")};
  auto hive = new_hive();
  for (const char* key : {"Software", "Software\\Own", "Software\\Own\\X", "Software\\Vendor"})
    must(hive.create(key_of(key), {}));
  auto file = new_file();
  must(capture_hive(hive, file, options));
  auto model = model_of(file);
  CHECK(model.find(key_of("Software\\Vendor")) != nullptr);
  CHECK(model.find(key_of("Software\\Own")) == nullptr);
  must(file.create_path(must(file.hive().root()).cell, "SOFTWARE\\own\\of the file"));
  must(hive.delete_key(key_of("Software\\Vendor")));
  must(capture_hive(hive, file, options));
  model = model_of(file);
  CHECK(model.find(key_of("Software\\Own\\of the file")) != nullptr);
  CHECK(model.find(key_of("Software\\Vendor")) == nullptr);

  // Made equal to a file without "Software": what is left out keeps its parent.
  auto empty = new_file();
  must(restore_hive(empty.hive(), hive, options));
  CHECK(hive.model.find(key_of("Software\\Own\\X")) != nullptr);
  CHECK(hive.model.nodes().size() == 4);
  CHECK_FALSE(must(capture_hive(hive, empty, options)));  // nor is that parent one of the hive's keys
  must(hive.set_value({}, "v", 1, {}));
  must(hive.create(key_of("Software\\New"), {}));
  must(clear_hive(hive, options));
  CHECK(hive.model.nodes().size() == 4);
  CHECK(hive.model.find({})->values.empty());
}

TEST_CASE("edits reach programs when they are saved, all of them, and times stay") {
  auto hive = new_hive();
  must(hive.create(key_of("A"), {}));
  must(hive.set_value(key_of("A"), "mine", 1, Bytes(2)));
  const auto written = must(hive.written(key_of("A")));
  const auto before = hive.model;
  auto edits = edits_of(hive);
  const auto a = *must(edits.open(0, "a"));
  CHECK(must(edits.create(a, "B", {{}, 5, registry::test::descriptor(1)})) != a);
  const auto b = *must(edits.open(a, "b"));
  CHECK(edits.create(a, "b", {}).error().code == ErrorCode::exists);
  must(edits.set_value(b, "v", 4, Bytes(4)));
  CHECK(must(edits.has_value(b, "V")));
  CHECK(must(edits.has_value(a, "MINE")));
  CHECK_FALSE(must(edits.has_value(a, "other")));
  must(edits.set_value(a, "other", 3, Bytes(9)));
  must(edits.delete_value(a, "mine"));
  CHECK_FALSE(must(edits.has_value(a, "mine")));
  const auto gone = must(edits.create(a, "gone", {}));
  must(edits.create(gone, "below", {}));
  must(edits.delete_key(gone));
  CHECK(edits.set_value(gone, "v", 1, {}).error().code == ErrorCode::not_found);
  CHECK_FALSE(must(edits.open(a, "gone")));
  const auto listing = must(edits.enumerate(a));
  CHECK(listing.subkeys == std::vector<std::string>{"B"});
  CHECK(listing.values == std::vector<std::string>{"other"});
  CHECK(difference(before, hive.model, true) == "");

  CHECK(must(edits.save()).record == 7);
  CHECK(hive.flushes == 1);
  CHECK(must(hive.read(key_of("A\\B"), true)).entry.security == registry::test::descriptor(1));
  CHECK(must(hive.has_value(key_of("A"), "other")));
  CHECK_FALSE(must(hive.has_value(key_of("A"), "mine")));
  CHECK(hive.model.find(key_of("A\\gone")) == nullptr);
  CHECK(must(hive.written(key_of("A"))) == written);
  // And again from there.
  must(edits.set_value(b, "w", 4, Bytes(4)));
  must(edits.save());
  CHECK(must(hive.has_value(key_of("A\\B"), "w")));
}

TEST_CASE("what a program did meanwhile is not overwritten: nothing is saved then") {
  auto hive = new_hive();
  must(hive.create(key_of("A"), {}));
  auto edits = edits_of(hive);
  const auto a = *must(edits.open(0, "A"));
  CHECK_FALSE(must(edits.has_value(a, "v")));
  must(edits.set_value(a, "v", 1, to_bytes(as_bytes("the version's"))));
  const auto made = must(edits.create(a, "new", {}));
  must(edits.set_value(made, "x", 1, Bytes(2)));
  SUBCASE("a value") { must(hive.set_value(key_of("A"), "v", 1, to_bytes(as_bytes("the program's")))); }
  SUBCASE("a key") { must(hive.create(key_of("A\\NEW"), {})); }
  SUBCASE("the key is gone") { must(hive.delete_key(key_of("A"))); }
  const auto before = hive.model;
  const auto saved = edits.save();
  REQUIRE_FALSE(saved);
  CHECK(saved.error().code == ErrorCode::conflict);
  CHECK(difference(before, hive.model, true) == "");
  CHECK(hive.flushes == 0);
}

TEST_CASE(
    "a hive whose file does not follow by itself: it has what was saved, before the rest of what programs "
    "did") {
  support::CrashFileSystem disk;
  testing::PlainVolume volume(disk);
  unsigned staged = 0;
  HiveFilePort port(volume, [&] { return "staging/" + std::to_string(++staged); });
  must(volume.make_directories("staging"));
  must(must(port.make("hive", {}, {{}, 1, registry::test::descriptor()}))->save());
  auto hive = new_hive();
  must(hive.create(key_of("A"), {}));
  must(hive.set_value(key_of("A"), "program's", 1, {}));
  HiveEdits::Host host;
  host.mount_file = [&] { return port.mount("hive", {}); };
  host.saving = std::make_shared<std::mutex>();
  HiveEdits edits(std::shared_ptr<LoadedHive>(std::shared_ptr<void>(), &hive), std::move(host));
  const auto a = *must(edits.open(0, "A"));
  const auto b = must(edits.create(a, "B", {to_bytes(as_bytes("cl")), 5, registry::test::descriptor(1)}));
  must(edits.set_value(b, "v", 4, Bytes(4)));
  must(edits.delete_value(a, "program's"));
  must(edits.delete_key(must(edits.create(a, "gone", {}))));
  must(edits.save());
  const auto in_file = [&] { return model_of_hive(must(os::read_file(disk, "hive", 1 << 20))); };
  const auto model = in_file();
  CHECK(model.find(key_of("A"))->values.empty());
  CHECK(model.find(key_of("A\\B"))->values.size() == 1);
  CHECK(model.find(key_of("A\\B"))->entry.security == registry::test::descriptor(1));
  CHECK(model.find(key_of("A\\B"))->entry.class_name == to_bytes(as_bytes("cl")));
  CHECK(model.find(key_of("A\\gone")) == nullptr);
  must(port.edit("hive", {}, [&](registry::Editor& file) { return capture_hive(hive, file, {}); }));
  CHECK(difference(hive.model, in_file(), false) == "");
  // What is not the hive's here goes to the file alone, whatever the registry has.
  must(hive.create(key_of("Own"), {}));
  must(hive.set_value(key_of("Own"), "v", 1, Bytes(2)));
  HiveEdits::Host apart;
  apart.mount_file = [&] { return port.mount("hive", {}); };
  apart.leave_out = {key_of("own")};
  HiveEdits others(std::shared_ptr<LoadedHive>(std::shared_ptr<void>(), &hive), std::move(apart));
  CHECK_FALSE(must(others.open(0, "Own")));
  const auto own = must(others.create(0, "Own", {}));
  CHECK_FALSE(must(others.has_value(own, "v")));
  must(others.set_value(own, "v", 4, Bytes(4)));
  const auto untouched = hive.model;
  must(others.save());
  CHECK(difference(untouched, hive.model, true) == "");
  CHECK(in_file().find(key_of("Own"))->values.size() == 1);
  must(hive.delete_key(key_of("Own")));
  must(port.edit("hive", {}, [&](registry::Editor& file) { return capture_hive(hive, file, {}); }));
  // A conflict leaves the file alone.
  const auto before = must(os::read_file(disk, "hive", 1 << 20));
  must(edits.set_value(*must(edits.open(0, "A")), "late", 1, {}));
  must(hive.set_value(key_of("A"), "late", 1, Bytes(2)));
  CHECK(edits.save().error().code == ErrorCode::conflict);
  CHECK(must(os::read_file(disk, "hive", 1 << 20)) == before);
}

TEST_CASE("changes elsewhere in the hive are nobody's conflict") {
  auto hive = new_hive();
  must(hive.create(key_of("A"), {}));
  must(hive.create(key_of("B"), {}));
  auto edits = edits_of(hive);
  must(edits.set_value(*must(edits.open(0, "A")), "v", 1, {}));
  must(hive.set_value(key_of("B"), "program's", 1, {}));
  must(edits.save());
  CHECK(must(hive.has_value(key_of("A"), "v")));
}

TEST_CASE(
    "random edits by the loader and by programs: the file has what the loader saved, and follows the rest") {
  auto random = support::seeded_random();
  Odd odd(random);
  for (int round = 0; round < 15; ++round) {
    auto hive = new_hive();
    auto file = new_file();
    for (int step = 0; step < 6; ++step) {
      for (int i = 0; i < 20; ++i) odd.change(hive, hive.model);
      auto expected = hive.model;
      auto edits = edits_of(hive);
      for (int i = 0; i < 20; ++i) {
        // As merge_loaded does: what is there stays.
        const auto path = odd.some_key(expected);
        auto key = must(edits.root());
        for (const auto name : path.components()) key = *must(edits.open(key, std::string(name)));
        if (path.depth() < 6) {
          const auto name = odd.name();
          const auto below = path.child(name);
          const auto there = must(edits.open(key, name));
          CHECK(there.has_value() == (expected.find(below) != nullptr));
          key = there ? *there : must(edits.create(key, name, {{}, 3, registry::test::descriptor()}));
          if (!there) expected.at(below).entry.security = registry::test::descriptor();
          const auto value = odd.value_name();
          if (must(edits.has_value(key, value))) continue;
          const auto type = odd.type();
          const auto data = odd.data();
          must(edits.set_value(key, value, type, data));
          expected.set_value(below, value, type, data);
        }
      }
      must(edits.save());
      CHECK(difference(expected, hive.model, true) == "");
      must(capture_hive(hive, file, {}));
      CHECK(difference(hive.model, model_of(file), false) == "");
    }
  }
}

}  // namespace
}  // namespace roamstead::agent
