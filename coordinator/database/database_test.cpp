#include "coordinator/database/database.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "tests/support/temporary_directory.h"

using namespace roamstead;
using namespace roamstead::database;

namespace {

std::unique_ptr<Database> numbers(const std::string& path) {
  auto database = Database::open(path).value();
  REQUIRE(
      database->execute("CREATE TABLE numbers(n INTEGER PRIMARY KEY, other INTEGER REFERENCES numbers(n) "
                        "DEFERRABLE INITIALLY DEFERRED)"));
  return database;
}

Result<void> insert(Database& database, std::uint64_t n) {
  return database.prepare("INSERT INTO numbers VALUES(?, NULL)").bind(n).run();
}

std::vector<std::uint64_t> all(Database& database) {
  std::vector<std::uint64_t> found;
  auto statement = database.prepare("SELECT n FROM numbers ORDER BY n");
  while (statement.step().value()) found.push_back(statement.integer(0));
  return found;
}

}  // namespace

TEST_CASE("Shared transactions: every caller's work is done once, or not at all") {
  support::TemporaryDirectory folder;
  const auto path = folder / "numbers.db";
  auto database = numbers(path);
  std::mutex mutex;
  GroupCommit group(*database, mutex);
  constexpr std::uint64_t kThreads = 8, kEach = 50;
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        auto done = group.run([&](Database& inside) -> Result<void> {
          RS_CHECK(insert(inside, t * 1000 + i));
          // Taken back, and with it what was done before; the others in the group stay.
          if (i % 5 == 4) return fail(ErrorCode::conflict, "not this one");
          return insert(inside, 100'000 + t * 1000 + i);
        });
        if (!done) {
          CHECK(done.error().code == ErrorCode::conflict);
          ++refused;
        }
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(refused == kThreads * kEach / 5);
  std::vector<std::uint64_t> expected;
  for (std::uint64_t base : {0u, 100'000u})
    for (std::uint64_t t = 0; t < kThreads; ++t)
      for (std::uint64_t i = 0; i < kEach; ++i)
        if (i % 5 != 4) expected.push_back(base + t * 1000 + i);
  CHECK(all(*database) == expected);
  CHECK(all(*Database::open_reader(path).value()) == expected);
}

TEST_CASE(
    "Shared transactions: what cannot be committed fails for everybody in it, and the next one is free of "
    "it") {
  support::TemporaryDirectory folder;
  auto database = numbers(folder / "numbers.db");
  std::mutex mutex;
  GroupCommit group(*database, mutex);
  // Refused by the commit itself: no such other number.
  auto done =
      group.run([](Database& inside) { return inside.prepare("INSERT INTO numbers VALUES(1, 99)").run(); });
  REQUIRE_FALSE(done);
  CHECK(all(*database).empty());
  CHECK(group.run([](Database& inside) { return insert(inside, 2); }));
  CHECK(all(*database) == std::vector<std::uint64_t>{2});
}

TEST_CASE("A reader sees each commit at once, waits for none, and cannot write") {
  support::TemporaryDirectory folder;
  const auto path = folder / "numbers.db";
  auto database = numbers(path);
  auto reader = Database::open_reader(path).value();
  auto transaction = Transaction::begin(*database).value();
  REQUIRE(insert(*database, 7));
  CHECK(all(*reader).empty());
  REQUIRE(transaction.commit());
  CHECK(all(*reader) == std::vector<std::uint64_t>{7});
  CHECK_FALSE(insert(*reader, 8));
}

TEST_CASE("A statement prepared before is used again without its earlier values") {
  support::TemporaryDirectory folder;
  auto database = numbers(folder / "numbers.db");
  for (std::uint64_t n : {1u, 2u}) REQUIRE(insert(*database, n));
  {
    // Two at once, the first in the middle of its rows.
    auto first = database->prepare("SELECT n FROM numbers ORDER BY n");
    REQUIRE(first.step().value());
    CHECK(all(*database).size() == 2);
    REQUIRE(first.step().value());
    CHECK(first.integer(0) == 2);
  }
  auto unbound = database->prepare("INSERT INTO numbers VALUES(?, NULL)");
  REQUIRE(unbound.run());  // NULL: SQLite gives it the next number, and not 2 again
  CHECK(all(*database) == std::vector<std::uint64_t>{1, 2, 3});
}
