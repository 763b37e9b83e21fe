#include "coordinator/repository/wal_checkpointer.h"

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/support/temporary_directory.h"

namespace roamstead::repository {
namespace {

struct Database {
  support::TemporaryDirectory directory;
  std::string path = directory / "db";
  sqlite3* handle = nullptr;

  Database() {
    REQUIRE(sqlite3_open(path.c_str(), &handle) == SQLITE_OK);
    run("PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE t(x)");
    run("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  ~Database() { sqlite3_close(handle); }
  void run(const char* sql) { REQUIRE(sqlite3_exec(handle, sql, nullptr, nullptr, nullptr) == SQLITE_OK); }
  void commit(int times) {
    for (; times > 0; --times) run("INSERT INTO t VALUES(randomblob(3000))");
  }
  std::uintmax_t bytes() const { return std::filesystem::file_size(path); }
  std::uintmax_t log_bytes() const { return std::filesystem::file_size(path + "-wal"); }
};

TEST_CASE("what is in the log reaches the database without any commit doing it") {
  Database database;
  const auto before = database.bytes();
  {
    WalCheckpointer checkpointer(database.handle, database.path, {40, 1'000'000});
    database.commit(3);  // a dozen pages
    CHECK(database.bytes() == before);
    database.commit(200);
    for (int waits = 0; database.bytes() == before && waits < 1000; ++waits)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    CHECK(database.bytes() > before);
    database.commit(200);
  }
  // SQLite is asked for nothing more, and nothing was lost.
  database.commit(1);
  sqlite3_stmt* count = nullptr;
  REQUIRE(sqlite3_prepare_v2(database.handle, "SELECT count(*) FROM t", -1, &count, nullptr) == SQLITE_OK);
  REQUIRE(sqlite3_step(count) == SQLITE_ROW);
  CHECK(sqlite3_column_int(count, 0) == 404);
  sqlite3_finalize(count);
}

TEST_CASE("where the thread cannot work, commits keep the log within its limit") {
  Database database;
  WalCheckpointer checkpointer(database.handle, database.directory / "missing/db", {4, 50});
  database.commit(2000);
  CHECK(database.log_bytes() < 100 * 4200);
}

}  // namespace
}  // namespace roamstead::repository
