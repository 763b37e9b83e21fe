#include "common/changelog/change_log.h"

#include <mutex>

#include "common/base/archive.h"
#include "common/changelog/sqlite_statement.h"
#include "common/changelog/sqlite_vfs.h"

namespace roamstead::changelog {
namespace {

constexpr int kFormat = 2;
constexpr int kApplicationId = 0x52534c47;  // "RSLG"

// Column types are checked on reading: the file may have been damaged or made by somebody else.
constexpr const char* kSchema = R"(
CREATE TABLE session (
  only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
  id BLOB NOT NULL, secret BLOB NOT NULL, incarnation BLOB NOT NULL,
  profile TEXT NOT NULL, profile_root TEXT NOT NULL, version INTEGER NOT NULL,
  highest_ordinal INTEGER NOT NULL, last_cut BLOB NOT NULL, open INTEGER NOT NULL);
CREATE TABLE batch (
  ordinal INTEGER PRIMARY KEY, frozen_path TEXT NOT NULL, encoded BLOB NOT NULL, locators BLOB NOT NULL, below BLOB);
)";
constexpr std::uint64_t kFormatWithoutBelow = 1;  // brought to the present one when it is opened

using Statement = SqliteStatement;

class SqliteChangeLog final : public ChangeLog {
 public:
  SqliteChangeLog(os::FileSystem& files, std::string path, Faults faults, Limits limits)
      : vfs_(files), path_(std::move(path)), faults_(std::move(faults)), limits_(limits) {}
  ~SqliteChangeLog() override { sqlite3_close(database_); }

  Result<void> open_database();

  Result<std::optional<SessionFacts>> session() override;
  Result<void> begin_session(const SessionFacts& facts) override;
  Result<void> resume_session(const Guid& incarnation, std::uint64_t committed_ordinal) override;
  Result<std::uint64_t> append(const QueuedBatch& batch) override;
  Result<void> note_cut(const Guid& snapshot) override;
  Result<void> note_ordinal(std::uint64_t ordinal) override;
  Result<std::optional<QueuedBatch>> next() override;
  Result<std::uint64_t> pending() override;
  Result<void> acknowledge(std::uint64_t ordinal) override;
  Result<bool> withdraw() override;
  Result<void> close_session() override;

 private:
  Error error(int code) const;
  Result<void> execute(const char* sql);
  Result<void> run(Statement& statement);  // expects no row
  Result<void> check_format();
  template <class Work>
  Result<void> transaction(std::string_view point, Work work);
  Result<std::optional<SessionFacts>> load_session();
  Result<void> store_session(const SessionFacts& facts);
  Result<SessionFacts> open_session();
  Result<std::uint64_t> count();
  Result<profile::Batch> decode_batch(ByteView encoded, std::uint64_t ordinal) const;
  Result<void> renumber(const Guid& incarnation, std::uint64_t& highest);

  SqliteVfs vfs_;  // outlives the database
  std::string path_;
  Faults faults_;
  Limits limits_;
  std::mutex mutex_;
  sqlite3* database_ = nullptr;
};

Error SqliteChangeLog::error(int code) const {
  return sqlite_failure(database_, code, "change log " + path_);
}

Result<void> SqliteChangeLog::execute(const char* sql) {
  int code = sqlite3_exec(database_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(error(code));
  return {};
}

Result<void> SqliteChangeLog::run(Statement& statement) {
  int code = statement.step();
  if (code != SQLITE_DONE) return fail(error(code));
  return {};
}

Result<void> SqliteChangeLog::open_database() {
  int code = sqlite3_open_v2(path_.c_str(), &database_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                             vfs_.name().c_str());
  if (code != SQLITE_OK) return fail(error(code));
  sqlite3_extended_result_codes(database_, 1);
  sqlite3_limit(database_, SQLITE_LIMIT_LENGTH, 1 << 30);
  // The write-ahead log is as durable as the database, and is read at the next opening: a log-out need not
  // wait until it is copied.
  sqlite3_db_config(database_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  // Exclusive locking keeps the WAL index in our memory; synchronous FULL makes every commit durable before
  // it returns.
  RS_CHECK(
      execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
              "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"));
  return check_format();
}

Result<void> SqliteChangeLog::check_format() {
  std::uint64_t format = 0, application = 0, tables = 0;
  {
    Statement version(database_, "PRAGMA user_version"), id(database_, "PRAGMA application_id"),
        names(database_, "SELECT count(*) FROM sqlite_schema");
    for (auto [statement, value] : {std::pair{&version, &format}, {&id, &application}, {&names, &tables}}) {
      if (int code = statement->step(); code != SQLITE_ROW) return fail(error(code));
      *value = statement->integer(0);
    }
  }
  if (format == 0 && application == 0 && tables == 0) {
    auto sql = "BEGIN IMMEDIATE;" + std::string(kSchema) +
               "PRAGMA application_id=" + std::to_string(kApplicationId) +
               ";PRAGMA user_version=" + std::to_string(kFormat) + ";COMMIT;";
    return execute(sql.c_str());
  }
  if (application != kApplicationId)
    return fail(ErrorCode::corrupt, "change log " + path_ + ": not a change log (application id " +
                                        std::to_string(application) + ")");
  if (format == kFormatWithoutBelow) {
    auto sql = "BEGIN IMMEDIATE;ALTER TABLE batch ADD COLUMN below BLOB;PRAGMA user_version=" +
               std::to_string(kFormat) + ";COMMIT;";
    RS_CHECK(execute(sql.c_str()));
  } else if (format != kFormat)
    return fail(ErrorCode::unsupported, "change log " + path_ + ": format " + std::to_string(format) +
                                            ", expected " + std::to_string(kFormat));
  Statement check(database_, "PRAGMA quick_check(1)");
  if (int code = check.step(); code != SQLITE_ROW) return fail(error(code));
  if (check.text(0) != "ok") return fail(ErrorCode::corrupt, "change log " + path_ + ": " + check.text(0));
  return {};
}

template <class Work>
Result<void> SqliteChangeLog::transaction(std::string_view point, Work work) {
  std::string name(point);
  RS_CHECK(execute("BEGIN IMMEDIATE"));
  auto finish = [&]() -> Result<void> {
    RS_CHECK(work());
    RS_CHECK(faults_.check(name + ".before_commit"));
    return execute("COMMIT");
  };
  auto done = finish();
  if (!done) {
    if (sqlite3_get_autocommit(database_) == 0) (void)execute("ROLLBACK");
    return done;
  }
  return faults_.check(name + ".after_commit");
}

Result<std::optional<SessionFacts>> SqliteChangeLog::load_session() {
  Statement query(database_,
                  "SELECT id, secret, incarnation, profile, profile_root, version, highest_ordinal, "
                  "last_cut, open FROM session");
  int code = query.step();
  if (code == SQLITE_DONE) return std::optional<SessionFacts>();
  if (code != SQLITE_ROW) return fail(error(code));
  for (int column : {0, 1, 2, 7})
    if (query.blob(column).size() != 16)
      return fail(ErrorCode::corrupt, "change log " + path_ + ": session column " + std::to_string(column) +
                                          " has " + std::to_string(query.blob(column).size()) +
                                          " bytes, expected 16");
  SessionFacts facts;
  facts.session = Guid::from(query.blob(0));
  facts.session_secret = Guid::from(query.blob(1));
  facts.incarnation = Guid::from(query.blob(2));
  facts.profile = query.text(3);
  facts.profile_root = query.text(4);
  facts.version = query.integer(5);
  facts.highest_ordinal = query.integer(6);
  facts.last_cut = Guid::from(query.blob(7));
  facts.open = query.integer(8) != 0;
  return std::optional(facts);
}

Result<void> SqliteChangeLog::store_session(const SessionFacts& facts) {
  Statement insert(database_, "INSERT OR REPLACE INTO session VALUES (1,?,?,?,?,?,?,?,?,?)");
  if (!insert.valid()) return fail(error(SQLITE_ERROR));
  insert.bind(ByteView(facts.session.bytes))
      .bind(ByteView(facts.session_secret.bytes))
      .bind(ByteView(facts.incarnation.bytes));
  insert.bind(facts.profile).bind(facts.profile_root).bind(facts.version).bind(facts.highest_ordinal);
  insert.bind(ByteView(facts.last_cut.bytes)).bind(std::uint64_t{facts.open ? 1u : 0u});
  return run(insert);
}

Result<SessionFacts> SqliteChangeLog::open_session() {
  RS_TRY(auto facts, load_session());
  if (!facts || !facts->open)
    return fail(ErrorCode::invalid_argument, "change log " + path_ + ": no session is open");
  return *facts;
}

Result<std::uint64_t> SqliteChangeLog::count() {
  Statement query(database_, "SELECT count(*) FROM batch");
  if (int code = query.step(); code != SQLITE_ROW) return fail(error(code));
  return query.integer(0);
}

Result<std::optional<SessionFacts>> SqliteChangeLog::session() {
  std::lock_guard lock(mutex_);
  return load_session();
}

Result<void> SqliteChangeLog::begin_session(const SessionFacts& facts) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto waiting, count());
  if (waiting != 0)
    return fail(ErrorCode::busy, "change log " + path_ + ": " + std::to_string(waiting) +
                                     " batches of the session before are not sent");
  return transaction("changelog.begin", [&] { return store_session(facts); });
}

Result<profile::Batch> SqliteChangeLog::decode_batch(ByteView encoded, std::uint64_t ordinal) const {
  auto context = "change log " + path_ + ": batch " + std::to_string(ordinal);
  RS_TRY_CTX(auto batch, context, decode<profile::Batch>(encoded));
  RS_CHECK_CTX(context, profile::check_batch(batch));
  return batch;
}

// Gives the waiting batches the ordinals 1, 2 … under `incarnation`, one at a time: memory stays bounded by
// the largest.
Result<void> SqliteChangeLog::renumber(const Guid& incarnation, std::uint64_t& highest) {
  std::vector<std::uint64_t> ordinals;
  {
    Statement query(database_, "SELECT ordinal FROM batch ORDER BY ordinal");
    int code = query.step();
    for (; code == SQLITE_ROW; code = query.step()) ordinals.push_back(query.integer(0));
    if (code != SQLITE_DONE) return fail(error(code));
  }
  highest = 0;
  for (auto ordinal : ordinals) {  // ascending, and new <= old: no collision on the way
    Bytes encoded;
    {
      Statement query(database_, "SELECT encoded FROM batch WHERE ordinal = ?");
      if (int code = query.bind(ordinal).step(); code != SQLITE_ROW) return fail(error(code));
      RS_TRY(auto batch, decode_batch(query.blob(0), ordinal));
      batch.incarnation = incarnation;
      batch.ordinal = ++highest;
      encoded = encode(batch);
    }
    Statement update(database_, "UPDATE batch SET ordinal = ?, encoded = ? WHERE ordinal = ?");
    RS_CHECK(run(update.bind(highest).bind(encoded).bind(ordinal)));
  }
  return {};
}

Result<void> SqliteChangeLog::resume_session(const Guid& incarnation, std::uint64_t committed_ordinal) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto facts, open_session());
  return transaction("changelog.resume", [&]() -> Result<void> {
    Statement remove(database_, "DELETE FROM batch WHERE ordinal <= ?");
    RS_CHECK(run(remove.bind(committed_ordinal)));
    RS_CHECK(renumber(incarnation, facts.highest_ordinal));
    facts.incarnation = incarnation;
    return store_session(facts);
  });
}

Result<std::uint64_t> SqliteChangeLog::append(const QueuedBatch& queued) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto facts, open_session());
  auto batch = queued.batch;
  batch.incarnation = facts.incarnation;
  batch.ordinal = ++facts.highest_ordinal;
  const auto below = facts.last_cut;
  facts.last_cut = batch.snapshot;
  auto encoded = encode(batch);
  Statement sum(database_,
                "SELECT count(*), coalesce(sum(length(encoded) + length(locators)), 0) FROM batch");
  if (int code = sum.step(); code != SQLITE_ROW) return fail(error(code));
  if (sum.integer(0) + 1 > limits_.batches ||
      sum.integer(1) + encoded.size() + queued.locators.size() > limits_.bytes)
    return fail(ErrorCode::full, "change log " + path_ + ": " + std::to_string(sum.integer(0)) +
                                     " batches with " + std::to_string(sum.integer(1)) +
                                     " bytes wait already");
  auto store = [&]() -> Result<void> {
    Statement insert(database_, "INSERT INTO batch VALUES (?,?,?,?,?)");
    if (!insert.valid()) return fail(error(SQLITE_ERROR));
    insert.bind(batch.ordinal).bind(queued.frozen_path).bind(encoded).bind(queued.locators);
    RS_CHECK(run(insert.bind(ByteView(below.bytes))));
    return store_session(facts);
  };
  RS_CHECK(transaction("changelog.append", store));
  return batch.ordinal;
}

Result<void> SqliteChangeLog::note_cut(const Guid& snapshot) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto facts, open_session());
  facts.last_cut = snapshot;
  return transaction("changelog.note_cut", [&] { return store_session(facts); });
}

Result<void> SqliteChangeLog::note_ordinal(std::uint64_t ordinal) {
  std::lock_guard lock(mutex_);
  RS_TRY(auto facts, open_session());
  if (ordinal <= facts.highest_ordinal) return {};
  facts.highest_ordinal = ordinal;
  return transaction("changelog.note_ordinal", [&] { return store_session(facts); });
}

Result<std::optional<QueuedBatch>> SqliteChangeLog::next() {
  std::lock_guard lock(mutex_);
  Statement query(database_,
                  "SELECT ordinal, frozen_path, encoded, locators FROM batch ORDER BY ordinal LIMIT 1");
  int code = query.step();
  if (code == SQLITE_DONE) return std::optional<QueuedBatch>();
  if (code != SQLITE_ROW) return fail(error(code));
  QueuedBatch queued;
  RS_TRY(queued.batch, decode_batch(query.blob(2), query.integer(0)));
  if (queued.batch.ordinal != query.integer(0))
    return fail(ErrorCode::corrupt, "change log " + path_ + ": batch " + std::to_string(query.integer(0)) +
                                        " says it is " + std::to_string(queued.batch.ordinal));
  queued.frozen_path = query.text(1);
  queued.locators = to_bytes(query.blob(3));
  return std::optional(std::move(queued));
}

Result<std::uint64_t> SqliteChangeLog::pending() {
  std::lock_guard lock(mutex_);
  return count();
}

Result<void> SqliteChangeLog::acknowledge(std::uint64_t ordinal) {
  std::lock_guard lock(mutex_);
  return transaction("changelog.acknowledge", [&] {
    Statement remove(database_, "DELETE FROM batch WHERE ordinal <= ?");
    return run(remove.bind(ordinal));
  });
}

Result<bool> SqliteChangeLog::withdraw() {
  std::lock_guard lock(mutex_);
  RS_TRY(auto facts, open_session());
  {
    Statement query(database_, "SELECT ordinal, below FROM batch ORDER BY ordinal LIMIT 1");
    int code = query.step();
    if (code == SQLITE_DONE) return false;
    if (code != SQLITE_ROW) return fail(error(code));
    if (query.integer(0) == 0 || query.blob(1).size() != facts.last_cut.bytes.size()) return false;
    facts.highest_ordinal = query.integer(0) - 1;
    facts.last_cut = Guid::from(query.blob(1));
  }
  auto take_back = [&]() -> Result<void> {
    RS_CHECK(execute("DELETE FROM batch"));
    return store_session(facts);
  };
  RS_CHECK(transaction("changelog.withdraw", take_back));
  return true;
}

Result<void> SqliteChangeLog::close_session() {
  std::lock_guard lock(mutex_);
  RS_TRY(auto facts, open_session());
  RS_TRY(auto waiting, count());
  if (waiting != 0)
    return fail(ErrorCode::busy,
                "change log " + path_ + ": " + std::to_string(waiting) + " batches are not sent");
  facts.open = false;
  return transaction("changelog.close", [&] { return store_session(facts); });
}

}  // namespace

Result<std::unique_ptr<ChangeLog>> ChangeLog::open(os::FileSystem& files, const std::string& path,
                                                   Faults faults, Limits limits) {
  auto log = std::make_unique<SqliteChangeLog>(files, path, std::move(faults), limits);
  RS_CHECK(log->open_database());
  return std::unique_ptr<ChangeLog>(std::move(log));
}

}  // namespace roamstead::changelog
