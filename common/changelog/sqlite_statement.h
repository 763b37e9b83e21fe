// A statement of an agent's database, and what SQLite's errors are to us. For sources that include sqlite3.h
// through here only.
#pragma once

#include <sqlite3.h>

#include <string>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/text.h"

namespace roamstead::changelog {

// One that could not be prepared fails with SQLITE_ERROR when it is stepped. Columns and parameters in order,
// columns from 0.
class SqliteStatement {
 public:
  SqliteStatement(sqlite3* database, const char* sql) {
    if (sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr) != SQLITE_OK) statement_ = nullptr;
  }
  ~SqliteStatement() { sqlite3_finalize(statement_); }
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  // For another use.
  SqliteStatement& again() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
    bound_ = 0;
    return *this;
  }
  SqliteStatement& bind(std::uint64_t value) {
    sqlite3_bind_int64(statement_, ++bound_, static_cast<sqlite3_int64>(value));
    return *this;
  }
  SqliteStatement& bind(const std::string& text) {
    sqlite3_bind_text64(statement_, ++bound_, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
  }
  SqliteStatement& bind(ByteView bytes) {
    static constexpr std::byte kNothing{};  // a null pointer would bind NULL
    sqlite3_bind_blob64(statement_, ++bound_, bytes.empty() ? &kNothing : bytes.data(), bytes.size(),
                        SQLITE_TRANSIENT);
    return *this;
  }
  SqliteStatement& bind_null() {
    sqlite3_bind_null(statement_, ++bound_);
    return *this;
  }
  bool valid() const { return statement_ != nullptr; }
  int step() { return valid() ? sqlite3_step(statement_) : SQLITE_ERROR; }

  std::uint64_t integer(int column) const {
    return static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column));
  }
  bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  // Until the next step.
  ByteView blob(int column) const {
    auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
    return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }
  std::string text(int column) const { return std::string(as_text(blob(column))); }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

// Of a database of which `what` is the name for people; `database` may be null.
inline Error sqlite_failure(sqlite3* database, int code, const std::string& what) {
  auto kind = ErrorCode::io;
  switch (code & 0xFF) {
    case SQLITE_BUSY:
      kind = ErrorCode::busy;
      break;
    case SQLITE_FULL:
      kind = ErrorCode::full;
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR:
      kind = ErrorCode::corrupt;
      break;
    default:
      break;
  }
  const std::string text = kind == ErrorCode::busy ? "in use by another agent"
                           : database != nullptr   ? sqlite3_errmsg(database)
                                                   : sqlite3_errstr(code);
  return Error(kind, what + ": " + text);
}

}  // namespace roamstead::changelog
