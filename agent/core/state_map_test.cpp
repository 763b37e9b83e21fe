#include "agent/core/state_map.h"

#include <doctest/doctest.h>

#include <map>
#include <thread>

#include "agent/core/state_map_writer.h"
#include "common/base/text.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"

namespace roamstead::agent {
namespace {

using namespace state_map;
using support::must;

// Sections as plain memory; what is dropped stays readable, as views of programs do.
class PlainMemory final : public StateMapMemory {
 public:
  Result<MutableByteView> make_header(std::size_t bytes) override {
    if (!keep_header) header_ = take(bytes);
    return MutableByteView(header_);
  }
  Result<MutableByteView> make_table(std::uint32_t number, std::size_t bytes) override {
    if (full) return fail(ErrorCode::full, "no memory");
    auto& table = tables_[number];
    table = take(bytes);
    return MutableByteView(table);
  }
  void drop_table(std::uint32_t number) override { dropped.push_back(number); }

  const Header* header() const { return view_header(header_.data(), header_.size()); }
  TableView table() const { return table(header()->table); }
  TableView table(std::uint32_t number) const {
    const auto& bytes = tables_.at(number);
    return view_table(bytes.data(), bytes.size());
  }
  std::uint32_t state(std::uint32_t root, const std::u16string& name) const {
    return look_up(table(), hash_name(header()->seed, root, name.data(), name.size()) & ~std::uint64_t{15});
  }
  bool goes_on(const std::u16string& path, std::uint32_t wanted, bool is_key = false) const {
    Place place;
    if (!find_place(*header(), is_key, path.data(), path.size(), place)) return true;
    return may_go_on(*header(), table(), place, wanted);
  }
  bool full = false;
  bool keep_header = false;
  std::vector<std::uint32_t> dropped;

 private:
  static std::vector<std::byte> take(std::size_t bytes) { return std::vector<std::byte>(bytes); }
  std::vector<std::byte> header_;
  std::map<std::uint32_t, std::vector<std::byte>> tables_;
};

std::vector<StateMapPrefix> prefixes() {
  return {{0, false, u"\\??\\C:\\Users\\alice"},
          {0, false, u"\\Device\\HarddiskVolume2\\Users\\alice"},
          {1, true, u"\\Registry\\User\\S-1-5-21-7"},
          {2, true, u"\\Registry\\User\\S-1-5-21-7_Classes"},
          {2, true, u"\\Registry\\User\\S-1-5-21-7\\Software\\Classes"}};
}

TEST_CASE("upcasing is the repository's, in four units at once too") {
  for (std::uint32_t unit = 0; unit < 65536; ++unit)
    REQUIRE(upcase_unit(static_cast<char16_t>(unit)) == upcase(static_cast<char16_t>(unit)));
  auto random = support::seeded_random();
  for (int round = 0; round < 100'000; ++round) {
    char16_t units[4], expected[4];
    for (int i = 0; i < 4; ++i) {
      units[i] = static_cast<char16_t>(random() % (round % 3 == 0 ? 65536 : 128));
      expected[i] = upcase(units[i]);
    }
    REQUIRE(upcase_four(detail::four_units(units)) == detail::four_units(expected));
  }
}

TEST_CASE("where 32-bit programs have LoadLibraryW is said in every table, also when it is learnt late") {
  PlainMemory memory;
  const auto map = must(StateMapWriter::create(memory, prefixes(), 7, 1000, 16));
  CHECK(load_library32(memory.table()) == 0);
  CHECK(load_library32(TableView{}) == 0);
  const auto before = memory.table();
  map->set_load_library32(0x7B61'2340);
  CHECK(load_library32(before) == 0x7B61'2340);
  for (int i = 0; i < 200; ++i)
    map->add(0, u"name" + to_utf16(std::to_string(i)).value(), kLoaded, map->generation());
  CHECK(memory.table().number != before.number);
  CHECK(load_library32(memory.table()) == 0x7B61'2340);
}

TEST_CASE("names are found below the longest name that leads to a root") {
  PlainMemory memory;
  const auto map = must(StateMapWriter::create(memory, prefixes(), 7, 1000));
  const auto& header = *memory.header();
  const auto place_of = [&](const std::u16string& name, bool is_key) {
    Place place;
    if (!find_place(header, is_key, name.data(), name.size(), place)) return std::u16string(u"-");
    return std::u16string(1, static_cast<char16_t>(u'0' + place.root)) +
           std::u16string(place.name, place.units);
  };
  CHECK(place_of(u"\\??\\c:\\USERS\\Alice", false) == u"0");
  CHECK(place_of(u"\\??\\c:\\USERS\\Alice\\", false) == u"0");
  CHECK(place_of(u"\\??\\C:\\Users\\alice\\a b\\C.txt", false) == u"0a b\\C.txt");
  CHECK(place_of(u"\\??\\C:\\Users\\alice\\dir\\", false) == u"0dir");
  CHECK(place_of(u"\\device\\harddiskvolume2\\users\\alice\\x", false) == u"0x");
  CHECK(place_of(u"\\??\\C:\\Users\\alice2\\x", false) == u"-");
  CHECK(place_of(u"\\??\\C:\\Users\\alic", false) == u"-");
  CHECK(place_of(u"", false) == u"-");
  CHECK(place_of(u"\\??\\C:\\Users\\alice\\x", true) == u"-");
  CHECK(place_of(u"\\REGISTRY\\USER\\s-1-5-21-7\\software\\x", true) == u"1software\\x");
  CHECK(place_of(u"\\REGISTRY\\USER\\s-1-5-21-7\\software\\classes\\.txt", true) == u"2.txt");
  CHECK(place_of(u"\\REGISTRY\\USER\\s-1-5-21-7_CLASSES\\.txt", true) == u"2.txt");
  CHECK(place_of(u"\\REGISTRY\\USER\\s-1-5-21-71", true) == u"-");
}

TEST_CASE("what is not known is asked for; flags and complete roots decide first") {
  PlainMemory memory;
  const auto map = must(StateMapWriter::create(memory, prefixes(), 7, 1000));
  const std::u16string name = u"\\??\\C:\\Users\\alice\\Documents\\Größe.txt";
  CHECK(memory.goes_on(u"\\??\\C:\\Windows", kSettled | kLoaded | kRecorded));
  CHECK_FALSE(memory.goes_on(name, kSettled));
  map->add(0, u"documents\\GRÖSSE.txt", kSettled | kLoaded, map->generation());
  CHECK_FALSE(memory.goes_on(name, kSettled));
  map->add(0, u"documents\\GRÖßE.TXT", kSettled | kLoaded, map->generation());
  CHECK(memory.goes_on(name, kSettled | kLoaded));
  CHECK_FALSE(memory.goes_on(name, kSettled | kRecorded));
  map->add(0, u"Documents\\größe.txt", kRecorded, map->generation());
  CHECK(memory.goes_on(name, kSettled | kLoaded | kRecorded));
  map->set_flag(kReadOnly, true);
  CHECK_FALSE(memory.goes_on(name, kRecorded));
  CHECK(memory.goes_on(name, kLoaded));
  map->set_flag(kReadOnly, false);
  map->forget(kRecorded);
  CHECK_FALSE(memory.goes_on(name, kRecorded));
  CHECK(memory.goes_on(name, kLoaded));
  map->set_complete(0, true);
  CHECK(memory.goes_on(name + u"x", kSettled | kLoaded));
  CHECK_FALSE(memory.goes_on(name + u"x", kRecorded));  // so that changes are noticed
  CHECK_FALSE(memory.goes_on(u"\\Registry\\User\\S-1-5-21-7\\x", kLoaded, true));
  map->set_complete(0, false);
  map->erase(0, u"documents\\größe.txt");
  CHECK_FALSE(memory.goes_on(name, kSettled));
}

TEST_CASE("nothing that was learnt before a rename is said after it") {
  PlainMemory memory;
  const auto map = must(StateMapWriter::create(memory, prefixes(), 7, 1000));
  const auto before = map->generation();
  map->begin_rename();
  map->add(0, u"a", kLoaded, before);
  map->add(0, u"a", kLoaded, map->generation());  // it may be true no more when the rename happens
  CHECK(memory.state(0, u"a") == 0);
  CHECK(memory.header()->renames == 1);
  map->end_rename();
  map->add(0, u"a", kLoaded, before);
  CHECK(memory.state(0, u"a") == 0);
  map->add(0, u"a", kLoaded, map->generation());
  CHECK(memory.state(0, u"a") == kLoaded);
}

TEST_CASE("a map without memory to grow forgets, and goes on") {
  PlainMemory memory;
  const auto map = must(StateMapWriter::create(memory, prefixes(), 7, 1000, 64));
  memory.full = true;
  for (int i = 0; i < 1000; ++i)
    map->add(0, u"n" + to_utf16(std::to_string(i)).value(), kLoaded, map->generation());
  CHECK(map->known() <= 64);
  CHECK(memory.state(0, u"n0") == kLoaded);
  memory.full = false;
  for (int i = 0; i < 1000; ++i)
    map->add(0, u"n" + to_utf16(std::to_string(i)).value(), kLoaded, map->generation());
  CHECK(map->known() == 1000);
  CHECK(memory.header()->table > 3);
  CHECK(memory.dropped.size() == memory.header()->table - 1);
}

TEST_CASE("files that the service has open are told, as many as there is room for, and then all") {
  PlainMemory memory;
  const auto map = must(StateMapWriter::create(memory, prefixes(), 7, 1000));
  const auto in_use = [&](const std::u16string& name) {
    return is_in_use(*memory.header(), {0, name.data(), name.size()});
  };
  map->begin_use(0, u"docs\\A.txt");
  map->begin_use(0, u"docs\\a.txt");
  CHECK(in_use(u"DOCS\\a.txt"));
  CHECK_FALSE(in_use(u"docs\\b.txt"));
  map->end_use(0, u"docs\\a.txt");
  CHECK(in_use(u"docs\\a.txt"));
  map->end_use(0, u"docs\\a.txt");
  CHECK_FALSE(in_use(u"docs\\a.txt"));
  const auto name_of = [](std::size_t i) { return u"n" + to_utf16(std::to_string(i)).value(); };
  for (std::size_t i = 0; i <= kMaxInUse; ++i) {
    CHECK_FALSE(in_use(u"another"));
    map->begin_use(0, name_of(i));
  }
  CHECK(in_use(u"another"));
  map->end_use(0, name_of(3));
  CHECK_FALSE(in_use(u"another"));
  CHECK_FALSE(in_use(name_of(3)));
  CHECK(in_use(name_of(kMaxInUse)));
}

TEST_CASE("a service that is started anew takes over the map that programs look at") {
  PlainMemory memory;
  const auto seed_and_instance = [&] { return std::pair(memory.header()->seed, memory.header()->instance); };
  auto first = must(StateMapWriter::create(memory, prefixes(), 7, 1000));
  first->add(0, u"a", kLoaded, first->generation());
  first->begin_rename();
  first->begin_use(0, u"a");
  first->set_complete(1, true);
  const auto before = seed_and_instance();
  const auto generation = first->generation();
  first.reset();
  memory.keep_header = true;
  const auto second = must(StateMapWriter::create(memory, prefixes(), 8, 1000));
  CHECK(memory.state(0, u"a") == 0);
  CHECK(memory.header()->renames == 0);
  CHECK(memory.header()->complete_roots == 0);
  CHECK(memory.header()->service_process == 8);
  CHECK(memory.header()->generation != generation);
  CHECK_FALSE(is_in_use(*memory.header(), {0, u"a", 1}));
  CHECK(seed_and_instance().first == before.first);
  CHECK(seed_and_instance().second != before.second);
  CHECK(memory.table().number > 1);
  auto other = prefixes();
  other[0].text = u"\\??\\C:\\Users\\bob";
  const auto third = must(StateMapWriter::create(memory, other, 9, 1000));
  CHECK_FALSE(memory.goes_on(u"\\??\\C:\\Users\\bob\\x", kSettled));
  CHECK(memory.goes_on(u"\\??\\C:\\Users\\alice\\x", kSettled));
}

TEST_CASE("prefixes that cannot be are refused") {
  PlainMemory memory;
  for (const std::u16string& text :
       {std::u16string(), std::u16string(u"\\??\\C:\\"), std::u16string(kMaxPrefixUnits + 1, u'x')})
    CHECK_FALSE(StateMapWriter::create(memory, {{0, false, text}}, 7, 1000));
  CHECK_FALSE(StateMapWriter::create(memory, {{kMaxRoots, false, u"x"}}, 7, 1000));
  CHECK_FALSE(StateMapWriter::create(memory, std::vector<StateMapPrefix>(kMaxPrefixes + 1, {0, false, u"x"}),
                                     7, 1000));
}

// Against a map of the standard library: the state map may know less, never more.
TEST_CASE("the map says what a model says, or nothing, however it grows") {
  auto random = support::seeded_random();
  PlainMemory memory;
  const auto map = must(StateMapWriter::create(memory, prefixes(), 7, 1000, 64));
  std::map<std::pair<std::uint32_t, std::u16string>, std::uint32_t> model;
  const auto any_name = [&] {
    std::u16string name;
    for (auto left = random() % 12; left != 0; --left)
      name += static_cast<char16_t>(random() % 4 == 0 ? u'\\' : u'a' + random() % 3);
    return name;
  };
  const auto upcased = [](std::u16string name) {
    for (auto& unit : name) unit = upcase(unit);
    return name;
  };
  std::size_t unknown = 0, asked = 0;
  for (int step = 0; step < 60'000; ++step) {
    const auto root = static_cast<std::uint32_t>(random() % 3);
    const auto name = any_name();
    const auto choice = random() % 1000;
    if (choice < 400) {
      const auto state = 1 + static_cast<std::uint32_t>(random() % 15);
      map->add(root, name, state, map->generation());
      model[{root, upcased(name)}] |= state;
    } else if (choice < 450) {
      map->erase(root, name);
      model.erase({root, upcased(name)});
    } else if (choice < 451) {
      const auto state = 1 + static_cast<std::uint32_t>(random() % 15);
      map->forget(state);
      for (auto& [key, value] : model) value &= ~state;
    } else {
      const auto it = model.find({root, upcased(name)});
      const auto expected = it == model.end() ? 0 : it->second;
      const auto actual = memory.state(root, random() % 2 == 0 ? name : upcased(name));
      REQUIRE((actual & ~expected) == 0);
      ++asked;
      if (actual != expected) ++unknown;
    }
  }
  CHECK(unknown == 0);  // nothing was lost where there was memory for it
  CHECK(asked > 1000);
}

TEST_CASE("readers survive any bytes") {
  auto random = support::seeded_random();
  alignas(8) std::array<std::byte, sizeof(Header)> header_bytes{};
  std::vector<std::uint64_t> table_words(512);
  for (int round = 0; round < 2000; ++round) {
    for (auto& byte : header_bytes) byte = static_cast<std::byte>(random() % (round % 2 == 0 ? 256 : 3));
    for (auto& word : table_words) word = random();
    auto& raw = *reinterpret_cast<Header*>(header_bytes.data());
    if (round % 4 != 0) {
      raw.magic = kHeaderMagic;
      raw.version = kVersion;
      raw.bytes = sizeof(Header);
    }
    auto& table = *reinterpret_cast<Table*>(table_words.data());
    if (round % 3 != 0) {
      table.magic = kTableMagic;
      table.version = kVersion;
      table.slot_count = 1u << (random() % 32);
    }
    const auto* header =
        view_header(header_bytes.data(), random() % 5 == 0 ? random() % 9000 : sizeof(Header));
    const auto view = view_table(table_words.data(), random() % 5 == 0 ? random() % 4096 : 4096);
    if (view.slots != nullptr) REQUIRE(view.mask < (4096 - sizeof(Table)) / 8);
    if (header == nullptr) continue;
    raw.table = view.number;
    if (random() % 2 == 0) {
      raw.prefix_count = static_cast<std::uint32_t>(random());
      raw.prefixes[0].units = 4;
      raw.prefixes[0].root = static_cast<std::uint16_t>(random() % 64);
      raw.prefixes[0].is_key = 0;
      for (int i = 0; i < 4; ++i) raw.prefixes[0].text[i] = u'A';
    }
    const std::u16string name = u"aaaa\\bcd\\" + std::u16string(random() % 600, u'x');
    Place place;
    if (!find_place(*header, false, name.data(), name.size(), place)) continue;
    REQUIRE(place.root < kMaxRoots);
    REQUIRE(place.name >= name.data());
    REQUIRE(place.name + place.units <= name.data() + name.size());
    (void)may_go_on(*header, view, place, kLoaded);
  }
}

TEST_CASE("one writes while others read: what they are told was so") {
  PlainMemory memory;
  const auto map = must(StateMapWriter::create(memory, prefixes(), 7, 1000, 1u << 12));
  std::atomic<int> added{0};
  std::atomic<bool> wrong{false};
  constexpr int kNames = 1500;  // fewer than make it grow: memory here goes with its owner
  const auto name_of = [](int i) { return u"name" + to_utf16(std::to_string(i)).value(); };
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&] {
      for (int i = 0; added < kNames; i = (i + 7) % kNames) {
        const auto sure = added.load();
        const auto state = memory.state(0, name_of(i));
        if (i < sure ? state != kLoaded : (state & ~std::uint32_t{kLoaded}) != 0) wrong = true;
      }
    });
  for (int i = 0; i < kNames; ++i) {
    map->add(0, name_of(i), kLoaded, map->generation());
    added = i + 1;
  }
  for (auto& reader : readers) reader.join();
  CHECK_FALSE(wrong);
}

}  // namespace
}  // namespace roamstead::agent
