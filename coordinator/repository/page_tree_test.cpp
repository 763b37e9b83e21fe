#include "coordinator/repository/page_tree.h"

#include "coordinator/repository/page_diff.h"

#include <doctest/doctest.h>

#include <unordered_map>

#include "coordinator/repository/seal.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;

namespace {

// Pages in memory, under ids made from their content.
class MemoryPages final : public PageSource {
 public:
  Result<std::shared_ptr<const Page>> load(const ObjectId& id, KeyOrder order) override {
    ++loads;
    return Page::parse(pages.at(id), order);
  }
  Result<ObjectId> save(ByteView page) override {
    CHECK(page.size() <= kMaxPageBytes);
    auto id = ids.make(ObjectType::page, Guid{}, page);
    if (pages.emplace(id, std::make_shared<const Bytes>(to_bytes(page))).second) ++saves;
    return id;
  }
  ObjectIdMaker ids{Key{}};
  std::unordered_map<ObjectId, std::shared_ptr<const Bytes>, ObjectIdHash> pages;
  int loads = 0;
  int saves = 0;
};

using Model = std::map<std::string, Bytes, KeyLess>;

PageEdits all_of(const Model& model, KeyOrder order) {
  auto edits = no_edits(order);
  for (const auto& [key, value] : model) edits.emplace(key, value);
  return edits;
}

void check_equal(const PageTree& tree, const Model& model) {
  auto expected = model.begin();
  REQUIRE(tree.scan("", [&](std::string_view key, ByteView value) -> Result<bool> {
    REQUIRE(expected != model.end());
    REQUIRE(key == expected->first);
    REQUIRE(std::equal(value.begin(), value.end(), expected->second.begin(), expected->second.end()));
    ++expected;
    return true;
  }));
  CHECK(expected == model.end());
}

std::string random_key(std::mt19937_64& random, KeyOrder order) {
  if (order == KeyOrder::offsets) {
    std::string key(8, '\0');
    for (auto& c : key) c = static_cast<char>(random() % 3);
    return key;
  }
  static const char* kParts[] = {"a", "B", "b", "Z", "ä", "Ö", "file", "0", "\xED\xA0\x80", "漢", " "};
  std::string key;
  for (auto parts = 1 + random() % 5; parts-- > 0;) key += kParts[random() % std::size(kParts)];
  return key;
}

Bytes value_of(std::mt19937_64& random) {
  Bytes value(random() % 10 == 0 ? random() % 4000 : random() % 100);
  for (auto& byte : value) byte = static_cast<std::byte>(random());
  return value;
}

void random_history(KeyOrder order) {
  auto random = support::seeded_random();
  MemoryPages pages;
  Model model(KeyLess{order});
  PageTree tree(pages, order, ObjectId{});
  for (int round = 0; round < 120; ++round) {
    auto edits = no_edits(order);
    // Phases of growing and of shrinking, so that levels come and go.
    auto growing = round / 20 % 2 == 0;
    auto count = random() % 3 == 0 ? 1 : random() % 600;
    for (std::size_t i = 0; i < count; ++i) {
      auto remove = random() % 10 < (growing ? 2 : 8);
      if (remove && !model.empty() && random() % 8 != 0) {
        auto at = model.lower_bound(random_key(random, order));
        for (int next = 0; next < 5 && at != model.end(); ++next, ++at) edits[at->first] = std::nullopt;
      } else {
        auto key = random_key(random, order);
        if (remove)
          edits[key] = std::nullopt;
        else
          edits[key] = value_of(random);
      }
    }
    auto applied = tree.apply(edits);
    REQUIRE(applied);
    tree = *applied;
    for (const auto& [key, value] : edits) {
      if (value)
        model[key] = *value;
      else
        model.erase(key);
    }
    auto afresh = PageTree(pages, order, ObjectId{}).apply(all_of(model, order));
    REQUIRE(afresh);
    REQUIRE(afresh->root() == tree.root());
    if (round % 10 == 0) check_equal(tree, model);
    for (int probe = 0; probe < 20; ++probe) {
      auto key = random_key(random, order);
      auto found = tree.find(key).value();
      auto expected = model.find(key);
      CHECK(found.has_value() == (expected != model.end()));
      if (found && expected != model.end()) CHECK(*found == expected->second);
      std::optional<std::string> first, floor;
      REQUIRE(tree.scan(key, [&](std::string_view at, ByteView) -> Result<bool> {
        first = at;
        return false;
      }));
      REQUIRE(tree.scan_from_floor(key, [&](std::string_view at, ByteView) -> Result<bool> {
        floor = at;
        return false;
      }));
      auto lower = model.lower_bound(key);
      CHECK(first.has_value() == (lower != model.end()));
      if (first) CHECK(*first == lower->first);
      if (!model.empty()) {
        auto upper = model.upper_bound(key);
        if (upper != model.begin()) --upper;
        CHECK(floor == upper->first);
      }
    }
  }
  auto gone = no_edits(order);
  for (const auto& [key, value] : model) gone[key] = std::nullopt;
  CHECK(tree.apply(gone)->root().is_zero());
}

}  // namespace

TEST_CASE(
    "a page tree by name holds what a map holds, and equal maps have equal roots whatever their history") {
  random_history(KeyOrder::names);
}

TEST_CASE("a page tree by offset does the same") { random_history(KeyOrder::offsets); }

TEST_CASE("a page tree by bytes does the same") { random_history(KeyOrder::bytes); }

TEST_CASE("two page trees are compared entry by entry, and pages that they share are not read") {
  auto random = support::seeded_random();
  const auto order = KeyOrder::bytes;
  MemoryPages pages;
  for (int round = 0; round < 60; ++round) {
    Model before(KeyLess{order});
    for (auto count = random() % 3 == 0 ? random() % 20 : random() % 3000; count-- > 0;)
      before[random_key(random, order)] = value_of(random);
    auto after = before;
    for (auto count = random() % 2 == 0 ? random() % 4 : random() % 2000; count-- > 0;) {
      if (random() % 2 == 0)
        after.erase(random_key(random, order));
      else
        after[random_key(random, order)] = value_of(random);
    }
    auto a = PageTree(pages, order, ObjectId{}).apply(all_of(before, order)).value();
    auto b = PageTree(pages, order, ObjectId{}).apply(all_of(after, order)).value();
    auto left = before;
    std::string last;
    REQUIRE(diff_pages(pages, order, a.root(), b.root(),
                       [&](std::string_view key, std::optional<ByteView> old_value,
                           std::optional<ByteView> new_value) -> Result<void> {
                         REQUIRE(key > last);
                         last = key;
                         REQUIRE(old_value.has_value() == (before.count(key) != 0));
                         REQUIRE(new_value.has_value() == (after.count(key) != 0));
                         if (new_value)
                           left[last] = to_bytes(*new_value);
                         else
                           left.erase(last);
                         return {};
                       }));
    REQUIRE(left == after);
  }
  auto edits = no_edits(order);
  for (int i = 0; i < 50'000; ++i) edits["entry " + std::to_string(i * 7919)] = Bytes(120, std::byte{1});
  auto large = PageTree(pages, order, ObjectId{}).apply(edits).value();
  for (auto change : {"entry 0", "entry 4", "entry 79190x", "zzz"}) {
    auto one = no_edits(order);
    one[change] = Bytes(5, std::byte{2});
    auto changed = large.apply(one).value();
    pages.loads = 0;
    int found = 0;
    REQUIRE(diff_pages(pages, order, large.root(), changed.root(),
                       [&](std::string_view key, auto, auto) -> Result<void> {
                         CHECK(key == change);
                         ++found;
                         return {};
                       }));
    CHECK(found == 1);
    CHECK(pages.loads <= 16);
  }
}

TEST_CASE("one change in a folder of 50,000 rewrites a few pages and reads a few") {
  MemoryPages pages;
  auto edits = no_edits(KeyOrder::names);
  for (int i = 0; i < 50'000; ++i)
    edits["file-" + std::to_string(i * 7919) + ".dat"] = Bytes(120, static_cast<std::byte>(i));
  auto tree = PageTree(pages, KeyOrder::names, ObjectId{}).apply(edits).value();
  CHECK(pages.saves > 300);
  std::mt19937_64 random(7);
  for (int round = 0; round < 50; ++round) {
    pages.saves = pages.loads = 0;
    auto one = no_edits(KeyOrder::names);
    auto name = "file-" + std::to_string(random() % 50'000 * 7919) + ".dat";
    if (round % 3 == 0)
      one[name] = std::nullopt;
    else if (round % 3 == 1)
      one[name] = Bytes(130, std::byte{1});
    else
      one[name + "x"] = Bytes(130, std::byte{2});
    REQUIRE(tree.apply(one));
    CHECK(pages.saves <= 6);
    CHECK(pages.loads <= 16);
  }
}

TEST_CASE("a page that does not fit is cut before the entry that would make it too long") {
  MemoryPages pages;
  auto edits = no_edits(KeyOrder::names);
  for (int i = 0; i < 100; ++i) edits["n" + std::to_string(1000 + i)] = Bytes(kMaxValueBytes, std::byte{1});
  auto tree = PageTree(pages, KeyOrder::names, ObjectId{}).apply(edits).value();
  int visited = 0;
  REQUIRE(tree.visit_pages([&](const ObjectId&, const Page&) -> Result<bool> { return ++visited > 0; }));
  CHECK(visited == pages.saves);
  auto too_long = no_edits(KeyOrder::names);
  too_long["x"] = Bytes(kMaxValueBytes + 1);
  CHECK_FALSE(tree.apply(too_long));
}

TEST_CASE("a damaged page is refused, at whatever place it is cut or altered") {
  auto order = KeyOrder::names;
  Bytes value(40, std::byte{3});
  auto page = encode_page(order, 0, {{"alpha", value}, {"Beta", value}, {"gamma", {}}});
  auto parse = [&](const Bytes& bytes) { return Page::parse(std::make_shared<const Bytes>(bytes), order); };
  REQUIRE(parse(page));
  CHECK_FALSE(Page::parse(std::make_shared<const Bytes>(page), KeyOrder::offsets));
  for (std::size_t cut = 0; cut < page.size(); ++cut)
    CHECK_FALSE(parse(Bytes(page.begin(), page.begin() + static_cast<std::ptrdiff_t>(cut))));
  auto random = support::seeded_random();
  for (int round = 0; round < 5000; ++round) {
    auto damaged = page;
    damaged[random() % damaged.size()] ^= static_cast<std::byte>(1 + random() % 255);
    auto parsed = parse(damaged);
    if (parsed) CHECK((*parsed)->size() == 3);  // only a key's or value's bytes can have changed
  }
  CHECK_FALSE(parse(encode_page(order, 0, {{"b", value}, {"a", value}})));
  CHECK_FALSE(parse(encode_page(order, 0, {{"a", value}, {"a", value}})));
  CHECK_FALSE(parse(encode_page(order, 1, {{"a", value}})));
  CHECK_FALSE(parse(encode_page(order, 0, {})));
}
