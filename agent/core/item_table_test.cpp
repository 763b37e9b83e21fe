#include "agent/core/item_table.h"

#include <doctest/doctest.h>

#include <set>
#include <thread>

#include "tests/support/seed.h"

namespace roamstead::agent {
namespace {

std::shared_ptr<Item> make_item(std::uint64_t record, bool recovered) {
  return std::make_shared<Item>(record + 1000, record, profile::ProfilePath(), false, recovered);
}

TEST_CASE("an item that rests is made again when somebody asks, once for all who ask") {
  int made = 0;
  ItemTable table([&](std::uint64_t record, bool recovered) {
    ++made;
    return record == 9 ? nullptr : make_item(record, recovered);
  });
  CHECK(table.find(5) == nullptr);
  table.add_resting(5, false);
  table.add_resting(6, true);
  table.add_resting(9, false);
  CHECK(made == 0);
  const auto five = table.find(5);
  REQUIRE(five);
  CHECK_FALSE(five->recovered);
  CHECK(table.find(5) == five);
  CHECK(table.find(6)->recovered);
  CHECK(table.find(9) == nullptr);  // the journal knows of none
  CHECK(table.find(9) == nullptr);
  CHECK(made == 3);
  CHECK(table.awake() == 2);
  table.remove(5);
  table.remove(6);
  CHECK(table.find(5) == nullptr);
  CHECK(table.find(6) == nullptr);
}

TEST_CASE("an item rests only when nobody holds it and the journal knows all of it") {
  ItemTable table(make_item);
  const auto rests = [&](const std::function<void(Item&)>& change) {
    auto item = make_item(7, false);
    item->streams[""].base_limit = 100'000;
    change(*item);
    table.add(item);
    table.rest(std::move(item));
    return table.awake() == 0;
  };
  CHECK(rests([](Item&) {}));
  CHECK(rests([](Item& item) { item.streams[""].loaded.add({0, 4096}); }));
  CHECK_FALSE(rests([](Item& item) { item.streams[""].pending[0] = {}; }));
  CHECK_FALSE(rests([](Item& item) { item.streams[""].in_flight.add({0, 4096}); }));
  CHECK_FALSE(rests([](Item& item) { item.written = true; }));
  CHECK_FALSE(rests([](Item& item) { item.doubted = true; }));
  CHECK_FALSE(rests([](Item& item) { item.populating = true; }));
  CHECK_FALSE(rests([](Item& item) { item.tags_waiting = true; }));
  auto held = make_item(7, false);
  table.add(held);
  table.rest(held);
  CHECK(table.find(7) == held);
  auto other = make_item(7, false);  // its record became another file's
  table.rest(std::move(other));
  CHECK(table.find(7) == held);
}

TEST_CASE("many threads that wake, hold, lay to rest and remove items never see two of one") {
  constexpr std::uint64_t kRecords = 40;
  std::mutex mutex;
  std::vector<std::weak_ptr<Item>> last(kRecords);
  int two_at_once = 0;
  ItemTable table([&](std::uint64_t record, bool recovered) {
    auto item = make_item(record, recovered);
    const std::lock_guard lock(mutex);
    if (!last[record].expired()) ++two_at_once;
    last[record] = item;
    return item;
  });
  for (std::uint64_t record = 0; record < kRecords; ++record) table.add_resting(record, record % 2 != 0);
  const auto seed = support::seeded_random()();
  std::vector<std::thread> threads;
  std::atomic<int> lost{0};
  for (unsigned i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      std::mt19937_64 random(seed + i);
      for (int round = 0; round < 20'000; ++round) {
        auto item = table.find(random() % kRecords);
        if (!item) {
          ++lost;
          continue;
        }
        {
          const std::lock_guard lock(item->mutex);
          item->populated = true;
        }
        if (random() % 2 == 0) table.rest(std::move(item));
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(lost == 0);
  CHECK(two_at_once == 0);
}

TEST_CASE("a set of records is what a set would be") {
  auto random = support::seeded_random();
  extract::RecordSet records;
  std::set<std::uint64_t> model;
  for (int round = 0; round < 20'000; ++round) {
    const auto record = random() % 8 == 0 ? random() : random() % 600;
    if (random() % 2 == 0) {
      REQUIRE(records.insert(record) == model.insert(record).second);
    } else {
      REQUIRE(records.erase(record) == (model.erase(record) != 0));
    }
    REQUIRE(records.size() == model.size());
  }
  CHECK(std::equal(records.begin(), records.end(), model.begin(), model.end()));
}

}  // namespace
}  // namespace roamstead::agent
