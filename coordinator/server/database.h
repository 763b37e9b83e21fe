// The least of SQLite that the state store needs: statements with values bound in order, and transactions.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>

#include "common/base/bytes.h"
#include "common/base/guid.h"

namespace roamstead::server {

// Not thread-safe.
class Statement {
 public:
  Statement(sqlite3* database, const std::string& path, const char* sql);
  ~Statement() { sqlite3_finalize(statement_); }
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

  sqlite3* database_;
  const std::string& path_;  // the database's, which outlives its statements
  sqlite3_stmt* statement_ = nullptr;
  int next_ = 1;
  int status_ = SQLITE_OK;
};

class Database {
 public:
  // Write-ahead log, every commit synced. ErrorCode::busy after waiting for another program for ten seconds.
  static Result<std::unique_ptr<Database>> open(const std::string& path);
  ~Database() { sqlite3_close(handle_); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Statement prepare(const char* sql) { return Statement(handle_, path_, sql); }
  Result<void> execute(const char* sql);
  const std::string& path() const { return path_; }

 private:
  Database(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}

  sqlite3* handle_;
  std::string path_;
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

}  // namespace roamstead::server
