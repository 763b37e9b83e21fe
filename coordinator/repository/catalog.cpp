#include "coordinator/repository/catalog.h"

#include <sqlite3.h>

#include <mutex>
#include <optional>
#include <unordered_map>

#include "coordinator/repository/wal_checkpointer.h"

namespace roamstead::repository {
namespace {

constexpr int kSchemaVersion = 1;
constexpr const char* kSchema = R"(
CREATE TABLE IF NOT EXISTS meta(repository BLOB NOT NULL, schema INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS profiles(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, head INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions(profile BLOB NOT NULL, number INTEGER NOT NULL, incarnation BLOB, ordinal INTEGER,
  record BLOB NOT NULL, PRIMARY KEY(profile, number)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS versions_by_batch ON versions(profile, incarnation, ordinal) WHERE incarnation IS NOT NULL;
CREATE TABLE IF NOT EXISTS objects(id BLOB PRIMARY KEY, epoch INTEGER NOT NULL, pack INTEGER NOT NULL, offset INTEGER NOT NULL,
  type INTEGER NOT NULL, compressed INTEGER NOT NULL, profile BLOB NOT NULL, payload INTEGER NOT NULL, content INTEGER NOT NULL,
  checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_place ON objects(epoch, pack, offset);
CREATE TABLE IF NOT EXISTS packs(epoch INTEGER NOT NULL, number INTEGER NOT NULL, indexed INTEGER NOT NULL,
  mark BLOB NOT NULL, PRIMARY KEY(epoch, number)) WITHOUT ROWID;
)";
constexpr const char* kObjectColumns =
    "id, epoch, pack, offset, type, compressed, profile, payload, content, checksum";

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;

// What was prepared, by its text: preparing takes longer than most of these statements. Not thread-safe.
class Prepared {
 public:
  explicit Prepared(sqlite3* database) : database_(database) {}
  ~Prepared() {
    for (auto& [text, statement] : statements_) sqlite3_finalize(statement);
  }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  sqlite3* database() const { return database_; }
  // Null: it cannot be prepared.
  sqlite3_stmt* get(const std::string& sql) {
    auto [place, fresh] = statements_.try_emplace(sql, nullptr);
    if (place->second == nullptr)
      sqlite3_prepare_v3(database_, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &place->second, nullptr);
    return place->second;
  }

 private:
  sqlite3* database_;
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
};

// A use of a prepared statement; of one text there is one at a time.
class Statement {
 public:
  Statement(Prepared& prepared, const std::string& sql)
      : database_(prepared.database()), statement_(prepared.get(sql)), failed_(statement_ == nullptr) {}
  ~Statement() {
    if (statement_ == nullptr) return;
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::uint64_t value) {
    failed_ |= sqlite3_bind_int64(statement_, ++bound_, static_cast<sqlite3_int64>(value)) != SQLITE_OK;
    return *this;
  }
  Statement& bind(ByteView value) {
    // A blob of length zero needs a pointer too, or it would be NULL.
    failed_ |=
        sqlite3_bind_blob64(statement_, ++bound_, value.empty() ? "" : static_cast<const void*>(value.data()),
                            value.size(), SQLITE_TRANSIENT) != SQLITE_OK;
    return *this;
  }
  Statement& bind_text(const std::string& value) {
    failed_ |= sqlite3_bind_text(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                                 SQLITE_TRANSIENT) != SQLITE_OK;
    return *this;
  }
  Statement& bind_null() {
    failed_ |= sqlite3_bind_null(statement_, ++bound_) != SQLITE_OK;
    return *this;
  }

  // Whether there is a row. After the last one the statement can be bound anew.
  Result<bool> step() {
    auto code = failed_ ? SQLITE_ERROR : sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    auto message = code == SQLITE_DONE ? std::string() : std::string(sqlite3_errmsg(database_));
    auto extended = sqlite3_errcode(database_);
    reset();
    if (code == SQLITE_DONE) return false;
    auto kind = extended == SQLITE_FULL                                   ? ErrorCode::full
                : extended == SQLITE_BUSY                                 ? ErrorCode::busy
                : extended == SQLITE_CORRUPT || extended == SQLITE_NOTADB ? ErrorCode::corrupt
                                                                          : ErrorCode::io;
    return fail(kind, "catalog: " + message);
  }
  Result<void> run() {
    RS_TRY(auto row, step());
    if (row) reset();
    return {};
  }
  void reset() {
    if (statement_ != nullptr) sqlite3_reset(statement_);
    bound_ = 0;
  }

  std::uint64_t number(int column) {
    return static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column));
  }
  ByteView blob(int column) {
    const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
    return {data, data == nullptr ? 0 : static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }
  std::string text(int column) {
    return std::string(as_text({reinterpret_cast<const std::byte*>(sqlite3_column_text(statement_, column)),
                                static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))}));
  }

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_;
  int bound_ = 0;
  bool failed_;
};

Result<Guid> column_guid(Statement& row, int column) {
  auto blob = row.blob(column);
  if (blob.size() != 16)
    return fail(ErrorCode::corrupt,
                "catalog: an id of " + std::to_string(blob.size()) + " bytes; rebuild it");
  return Guid::from(blob);
}

Result<Location> object_row(Statement& row) {
  if (row.blob(0).size() != 32)
    return fail(ErrorCode::corrupt, "catalog: an object id of another size; rebuild it");
  Location location;
  location.header.id = ObjectId::from(row.blob(0));
  location.pack = {row.number(1), static_cast<std::uint32_t>(row.number(2))};
  location.offset = row.number(3);
  location.header.type = static_cast<ObjectType>(row.number(4));
  location.header.compressed = row.number(5) != 0;
  RS_TRY(location.header.profile, column_guid(row, 6));
  location.header.payload_bytes = static_cast<std::uint32_t>(row.number(7));
  location.header.content_bytes = static_cast<std::uint32_t>(row.number(8));
  location.header.payload_checksum = static_cast<std::uint32_t>(row.number(9));
  if (!is_known(location.header.type) || location.header.content_bytes > kMaxObjectBytes ||
      location.header.payload_bytes > kMaxObjectBytes + 1024)
    return fail(ErrorCode::corrupt,
                "catalog: impossible object " + location.header.id.short_text() + "; rebuild it");
  return location;
}

class SqliteCatalog final : public Catalog {
 public:
  explicit SqliteCatalog(Database database) : database_(std::move(database)) {}
  void keep_log_short(const std::string& path) { checkpointer_.emplace(database_.get(), path); }

  Result<void> add_profile(const ProfileId& id, const std::string& name) override {
    std::lock_guard guard(mutex_);
    Statement insert(prepared_, "INSERT OR IGNORE INTO profiles VALUES(?, ?, 0)");
    return insert.bind(id.bytes).bind_text(name).run();
  }

  Result<std::vector<ProfileInfo>> profiles() const override {
    std::lock_guard guard(mutex_);
    Statement select(prepared_, "SELECT id, name, head FROM profiles ORDER BY name");
    return profile_rows(select);
  }
  Result<std::optional<ProfileInfo>> find_profile(const std::string& name) const override {
    std::lock_guard guard(mutex_);
    Statement select(prepared_, "SELECT id, name, head FROM profiles WHERE name = ?");
    select.bind_text(name);
    return first(profile_rows(select));
  }
  Result<std::optional<ProfileInfo>> find_profile(const ProfileId& id) const override {
    std::lock_guard guard(mutex_);
    Statement select(prepared_, "SELECT id, name, head FROM profiles WHERE id = ?");
    select.bind(id.bytes);
    return first(profile_rows(select));
  }

  Result<void> apply(const CatalogUpdate& update) override {
    std::lock_guard guard(mutex_);
    RS_CHECK(execute("BEGIN IMMEDIATE"));
    auto applied = apply_in_transaction(update);
    if (applied) applied = execute("COMMIT");
    if (!applied) (void)execute("ROLLBACK");  // the first error is the one to report
    return applied;
  }

  Result<std::map<PackNumber, IndexedPack>> indexed() const override {
    std::lock_guard guard(mutex_);
    Statement select(prepared_, "SELECT epoch, number, indexed, mark FROM packs");
    std::map<PackNumber, IndexedPack> found;
    for (;;) {
      RS_TRY(auto row, select.step());
      if (!row) return found;
      RS_TRY(auto mark, column_guid(select, 3));
      found[{select.number(0), static_cast<std::uint32_t>(select.number(1))}] = {select.number(2), mark};
    }
  }

  Result<std::vector<VersionInfo>> versions(const ProfileId& profile) const override {
    std::lock_guard guard(mutex_);
    Statement select(prepared_, "SELECT record FROM versions WHERE profile = ? ORDER BY number");
    select.bind(profile.bytes);
    RS_TRY(auto rows, version_rows(select));
    std::vector<VersionInfo> infos;
    for (auto& row : rows) infos.push_back(std::move(row.info));
    return infos;
  }
  Result<std::optional<CatalogedVersion>> version(const ProfileId& profile,
                                                  std::uint64_t number) const override {
    std::lock_guard guard(mutex_);
    Statement select(prepared_, "SELECT record FROM versions WHERE profile = ? AND number = ?");
    select.bind(profile.bytes).bind(number);
    return first(version_rows(select));
  }
  Result<std::optional<CatalogedVersion>> find_batch(const ProfileId& profile, const Guid& incarnation,
                                                     std::uint64_t ordinal) const override {
    std::lock_guard guard(mutex_);
    Statement select(prepared_,
                     "SELECT record FROM versions WHERE profile = ? AND incarnation = ? AND ordinal = ?");
    select.bind(profile.bytes).bind(incarnation.bytes).bind(ordinal);
    return first(version_rows(select));
  }
  Result<std::uint64_t> highest_version(const ProfileId& profile) const override {
    std::lock_guard guard(mutex_);
    Statement select(prepared_, "SELECT ifnull(max(number), 0) FROM versions WHERE profile = ?");
    RS_TRY(auto row, select.bind(profile.bytes).step());
    return row ? select.number(0) : 0;
  }

  Result<std::optional<Location>> find_object(const ObjectId& id) const override {
    std::lock_guard guard(mutex_);
    static const auto kSelect = std::string("SELECT ") + kObjectColumns + " FROM objects WHERE id = ?";
    Statement select(prepared_, kSelect);
    RS_TRY(auto row, select.bind(id.bytes).step());
    if (!row) return std::optional<Location>();
    RS_TRY(auto location, object_row(select));
    return std::optional<Location>(std::move(location));
  }
  Result<std::vector<Location>> objects_after(PackNumber pack, std::uint64_t offset,
                                              std::size_t limit) const override {
    std::lock_guard guard(mutex_);
    Statement select(
        prepared_,
        std::string("SELECT ") + kObjectColumns +
            " FROM objects WHERE (epoch, pack, offset) > (?, ?, ?) ORDER BY epoch, pack, offset LIMIT ?");
    select.bind(pack.epoch).bind(pack.number).bind(offset).bind(limit);
    std::vector<Location> found;
    for (;;) {
      RS_TRY(auto row, select.step());
      if (!row) return found;
      RS_TRY(auto location, object_row(select));
      found.push_back(std::move(location));
    }
  }
  Result<Totals> totals() const override {
    std::lock_guard guard(mutex_);
    Statement select(
        prepared_, "SELECT (SELECT count(*) FROM versions), count(*), ifnull(sum(content), 0) FROM objects");
    RS_TRY(auto row, select.step());
    if (!row) return Totals{};
    return Totals{select.number(0), select.number(1), select.number(2)};
  }

  Result<void> execute(const char* sql) const {
    char* message = nullptr;
    auto code = sqlite3_exec(database_.get(), sql, nullptr, nullptr, &message);
    if (code == SQLITE_OK) return {};
    std::string text = message != nullptr ? message : sqlite3_errstr(code);
    sqlite3_free(message);
    auto kind = code == SQLITE_FULL                               ? ErrorCode::full
                : code == SQLITE_BUSY                             ? ErrorCode::busy
                : code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? ErrorCode::corrupt
                                                                  : ErrorCode::io;
    return fail(kind, "catalog: " + text);
  }

  // Checks that the catalog is this repository's, or notes that it is when it is new.
  Result<void> check_repository(const Guid& repository, bool create) {
    Statement select(prepared_, "SELECT repository, schema FROM meta");
    RS_TRY(auto row, select.step());
    if (!row && create) {
      Statement insert(prepared_, "INSERT INTO meta VALUES(?, ?)");
      return insert.bind(repository.bytes).bind(kSchemaVersion).run();
    }
    if (!row) return fail(ErrorCode::corrupt, "catalog: empty; rebuild it ('repo rebuild-catalog')");
    RS_TRY(auto owner, column_guid(select, 0));
    if (owner != repository)
      return fail(ErrorCode::invalid_argument, "catalog: belongs to repository " + owner.to_string() +
                                                   ", not to " + repository.to_string() +
                                                   "; give this repository a state directory of its own");
    if (select.number(1) != kSchemaVersion)
      return fail(ErrorCode::unsupported,
                  "catalog: made by another version; rebuild it ('repo rebuild-catalog')");
    return {};
  }

 private:
  template <class T>
  static Result<std::optional<T>> first(Result<std::vector<T>> rows) {
    if (!rows) return fail(std::move(rows).error());
    if (rows->empty()) return std::optional<T>();
    return std::optional<T>(std::move(rows->front()));
  }

  static Result<std::vector<ProfileInfo>> profile_rows(Statement& select) {
    std::vector<ProfileInfo> found;
    for (;;) {
      RS_TRY(auto row, select.step());
      if (!row) return found;
      ProfileInfo info;
      RS_TRY(info.id, column_guid(select, 0));
      info.name = select.text(1);
      info.head = select.number(2);
      found.push_back(std::move(info));
    }
  }

  static Result<std::vector<CatalogedVersion>> version_rows(Statement& select) {
    std::vector<CatalogedVersion> found;
    for (;;) {
      RS_TRY(auto row, select.step());
      if (!row) return found;
      RS_TRY_CTX(auto record, "catalog (rebuild it)", parse_commit_record(select.blob(0)));
      found.push_back({record.profile, std::move(record.info), std::move(record.root)});
    }
  }

  Result<void> apply_in_transaction(const CatalogUpdate& update) {
    Statement object(prepared_, "INSERT OR IGNORE INTO objects VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    for (const auto& location : update.objects) {
      const auto& header = location.header;
      RS_CHECK(object.bind(header.id.bytes)
                   .bind(location.pack.epoch)
                   .bind(location.pack.number)
                   .bind(location.offset)
                   .bind(static_cast<std::uint64_t>(header.type))
                   .bind(std::uint64_t{header.compressed})
                   .bind(header.profile.bytes)
                   .bind(header.payload_bytes)
                   .bind(header.content_bytes)
                   .bind(header.payload_checksum)
                   .run());
    }
    Statement version(prepared_, "INSERT OR IGNORE INTO versions VALUES(?, ?, ?, ?, ?)");
    Statement head(prepared_, "UPDATE profiles SET head = max(head, ?) WHERE id = ?");
    for (const auto& added : update.versions) {
      version.bind(added.profile.bytes).bind(added.info.number);
      if (added.info.incarnation.is_zero())
        version.bind_null().bind_null();
      else
        version.bind(added.info.incarnation.bytes).bind(added.info.ordinal);
      CommitRecord record;
      record.profile = added.profile;
      record.info = added.info;
      record.root = added.root;
      RS_CHECK(version.bind(encode_commit_record(std::move(record))).run());
      if (added.info.on_head_line) RS_CHECK(head.bind(added.info.number).bind(added.profile.bytes).run());
    }
    Statement pack(prepared_,
                   "INSERT INTO packs VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET indexed = max(indexed, "
                   "excluded.indexed)");
    for (const auto& [number, indexed] : update.indexed)
      RS_CHECK(
          pack.bind(number.epoch).bind(number.number).bind(indexed.bytes).bind(indexed.mark.bytes).run());
    return {};
  }

  mutable std::mutex mutex_;
  Database database_;
  mutable Prepared prepared_{database_.get()};
  std::optional<WalCheckpointer> checkpointer_;
};

}  // namespace

Result<std::unique_ptr<Catalog>> Catalog::open(const std::string& path, const Guid& repository, bool create) {
  if (create) {  // for nobody else to read, which SQLite leaves to the umask
    RS_TRY(bool there, os::real_file_system().exists(path));
    if (!there) RS_CHECK(os::real_file_system().open(path, os::OpenMode::create).map([](const auto&) {}));
  }
  sqlite3* raw = nullptr;
  auto flags =
      SQLITE_OPEN_FULLMUTEX | (create ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
  auto code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  Database database(raw);
  if (code != SQLITE_OK)
    return fail(create ? ErrorCode::io : ErrorCode::not_found, path + ": cannot open the catalog (" +
                                                                   sqlite3_errstr(code) +
                                                                   "); 'repo rebuild-catalog' makes it anew");
  sqlite3_busy_timeout(raw, 10'000);
  auto catalog = std::make_unique<SqliteCatalog>(std::move(database));
  if (create) {
    RS_CHECK_CTX(path, catalog->execute("PRAGMA journal_mode = WAL"));
    // The packs are the truth: a transaction that a power loss takes is read from them again.
    RS_CHECK_CTX(path, catalog->execute("PRAGMA synchronous = NORMAL"));
    RS_CHECK_CTX(path, catalog->execute(kSchema));
    catalog->keep_log_short(path);
  }
  RS_CHECK_CTX(path, catalog->check_repository(repository, create));
  return catalog;
}

}  // namespace roamstead::repository
