#include "coordinator/database/database.h"

namespace roamstead::database {
namespace {

constexpr int kBusyTimeoutMs = 10'000;

Error sqlite_error(sqlite3* database, const std::string& path, int status) {
  auto code = ErrorCode::io;
  switch (status & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      code = ErrorCode::busy;
      break;
    case SQLITE_FULL:
      code = ErrorCode::full;
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      code = ErrorCode::corrupt;
      break;
    case SQLITE_CONSTRAINT:
      code = ErrorCode::exists;
      break;
    default:
      break;
  }
  return Error(code, path + ": " + (database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(status)));
}

}  // namespace

Statement::Statement(Database& database, const char* sql) : database_(database), idle_(database.idle_[sql]) {
  if (!idle_.empty()) {
    statement_ = idle_.back();
    idle_.pop_back();
  } else {
    status_ = sqlite3_prepare_v3(database.handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  }
}

Statement::~Statement() {
  if (statement_ == nullptr) return;
  // Its result was told already when it was stepped.
  (void)sqlite3_reset(statement_);
  (void)sqlite3_clear_bindings(statement_);
  idle_.push_back(statement_);
}

tl::unexpected<Error> Statement::failure() const {
  return fail(sqlite_error(database_.handle_, database_.path_, status_));
}

Statement& Statement::bind(std::uint64_t value) {
  if (status_ == SQLITE_OK)
    status_ = sqlite3_bind_int64(statement_, next_++, static_cast<sqlite3_int64>(value));
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  if (status_ == SQLITE_OK)
    status_ =
        sqlite3_bind_text(statement_, next_++, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
  return *this;
}

Statement& Statement::bind(ByteView value) {
  if (status_ == SQLITE_OK)
    status_ =
        sqlite3_bind_blob(statement_, next_++, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
  return *this;
}

Result<bool> Statement::step() {
  if (status_ != SQLITE_OK) return failure();
  auto status = sqlite3_step(statement_);
  if (status == SQLITE_ROW) return true;
  if (status == SQLITE_DONE) return false;
  status_ = status;
  return failure();
}

Result<void> Statement::run() {
  RS_TRY([[maybe_unused]] bool row, step());
  return {};
}

std::string Statement::text(int column) const {
  auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return data != nullptr
             ? std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
             : "";
}

Bytes Statement::blob(int column) const {
  auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  return data != nullptr ? Bytes(data, data + sqlite3_column_bytes(statement_, column)) : Bytes();
}

Guid Statement::guid(int column) const {
  auto bytes = blob(column);
  return bytes.size() == sizeof(Guid::bytes) ? Guid::from(bytes) : Guid{};
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path) {
  sqlite3* handle = nullptr;
  auto status = sqlite3_open_v2(path.c_str(), &handle,
                                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(handle, path));
  if (status != SQLITE_OK) return fail(sqlite_error(handle, path, status));
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  RS_CHECK(database->execute("PRAGMA journal_mode = WAL"));
  RS_CHECK(database->execute("PRAGMA synchronous = FULL"));
  RS_CHECK(database->execute("PRAGMA foreign_keys = ON"));
  return database;
}

Result<std::unique_ptr<Database>> Database::open_reader(const std::string& path) {
  sqlite3* handle = nullptr;
  auto status = sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Database> database(new Database(handle, path));
  if (status != SQLITE_OK) return fail(sqlite_error(handle, path, status));
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  return database;
}

Database::~Database() {
  for (const auto& [sql, statements] : idle_)
    for (auto* statement : statements) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

Result<void> Database::execute(const char* sql) {
  auto status = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (status != SQLITE_OK) return fail(sqlite_error(handle_, path_, status));
  return {};
}

Result<Transaction> Transaction::begin(Database& database) {
  RS_CHECK(database.execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  // Fails only where SQLite has rolled back already.
  if (database_ != nullptr) (void)database_->execute("ROLLBACK");
}

Result<void> Transaction::commit() {
  RS_CHECK(database_->execute("COMMIT"));
  database_ = nullptr;
  return {};
}

Result<void> GroupCommit::run(const Work& work) {
  Entry entry{&work, {}, false};
  std::unique_lock lock(queue_mutex_);
  queue_.push_back(&entry);
  changed_.wait(lock, [&] { return entry.done || !leading_; });
  if (entry.done) return std::move(entry.result);
  leading_ = true;
  auto group = std::exchange(queue_, {});
  lock.unlock();
  commit(group);
  lock.lock();
  for (auto* each : group) each->done = true;
  leading_ = false;
  lock.unlock();
  changed_.notify_all();
  return std::move(entry.result);
}

void GroupCommit::commit(const std::vector<Entry*>& group) {
  std::lock_guard guard(mutex_);
  auto whole = [&]() -> Result<void> {
    RS_TRY(auto transaction, Transaction::begin(database_));
    for (auto* entry : group) entry->result = run_alone(*entry->work);
    return transaction.commit();
  }();
  if (whole) return;
  for (auto* entry : group)
    if (entry->result) entry->result = fail(Error(whole.error()));
}

// In the group's transaction.
Result<void> GroupCommit::run_alone(const Work& work) {
  RS_CHECK(database_.execute("SAVEPOINT work"));
  auto result = work(database_);
  if (!result) RS_CHECK(database_.execute("ROLLBACK TO work"));
  RS_CHECK(database_.execute("RELEASE work"));
  return result;
}

}  // namespace roamstead::database
