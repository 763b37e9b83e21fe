// The least of SQLite that state needs: statements with values bound in order, kept for the next
// time, and transactions that callers share.
#pragma once

#include <sqlite3.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/guid.h"

namespace roamstead::database {

class Database;

// Not thread-safe. Its database outlives it.
class Statement {
 public:
  Statement(Database& database, const char* sql);
  ~Statement();  // the database keeps what was prepared
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // The values' bytes must live until the statement has run.
  Statement& bind(std::uint64_t value);
  Statement& bind(std::string_view value);
  Statement& bind(ByteView value);
  Statement& bind(const Guid& value) { return bind(ByteView(value.bytes)); }

  // Whether there is a row.
  Result<bool> step();
  // For statements without rows.
  Result<void> run();

  std::uint64_t integer(int column) const {
    return static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column));
  }
  std::string text(int column) const;
  Bytes blob(int column) const;
  // Zero when the column does not hold 16 bytes.
  Guid guid(int column) const;

 private:
  tl::unexpected<Error> failure() const;

  Database& database_;
  std::vector<sqlite3_stmt*>& idle_;  // where what was prepared is kept
  sqlite3_stmt* statement_ = nullptr;
  int next_ = 1;
  int status_ = SQLITE_OK;
};

class Database {
 public:
  // Write-ahead log, every commit synced. ErrorCode::busy after waiting for another program for ten seconds.
  static Result<std::unique_ptr<Database>> open(const std::string& path);
  // Another connection to one that is open, for reading only: it never waits for a commit, and sees each from
  // the moment it is durable.
  static Result<std::unique_ptr<Database>> open_reader(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Statement prepare(const char* sql) { return Statement(*this, sql); }
  Result<void> execute(const char* sql);
  const std::string& path() const { return path_; }

 private:
  friend class Statement;
  Database(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}

  sqlite3* handle_;
  std::string path_;
  std::unordered_map<std::string, std::vector<sqlite3_stmt*>> idle_;  // prepared, not in use; by their text
};

// Rolls back unless committed.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  ~Transaction();
  Transaction(Transaction&& other) noexcept : database_(other.database_) { other.database_ = nullptr; }
  Transaction& operator=(Transaction&&) = delete;
  Result<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

// Writers share transactions, and so the wait for the disk: whoever comes while one is being made durable is
// in the next. Thread-safe.
class GroupCommit {
 public:
  using Work = std::function<Result<void>(Database&)>;

  // `mutex` guards the database, here and elsewhere; both outlive this.
  GroupCommit(Database& database, std::mutex& mutex) : database_(database), mutex_(mutex) {}

  // Runs `work` in a transaction; what it did is durable when this returns. Where it fails, its own changes
  // are taken back and nobody else's. `work` may run on another caller's thread.
  Result<void> run(const Work& work);

 private:
  struct Entry {
    const Work* work;
    Result<void> result;
    bool done = false;
  };
  void commit(const std::vector<Entry*>& group);
  Result<void> run_alone(const Work& work);

  Database& database_;
  std::mutex& mutex_;
  std::mutex queue_mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Entry*> queue_;
  bool leading_ = false;  // one of the callers is committing a group
};

}  // namespace roamstead::database
