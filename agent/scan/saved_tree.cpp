#include "agent/scan/saved_tree.h"

#include <array>

#include "common/base/sha256.h"
#include "common/changelog/sqlite_statement.h"
#include "common/changelog/sqlite_vfs.h"

namespace roamstead::agent {
namespace {

constexpr int kFormat = 1;
constexpr int kApplicationId = 0x52535343;  // "RSSC"
// `item` is the tree as the oldest of the cuts left it, `change` what each later one made of it.
constexpr const char* kSchema = R"(
CREATE TABLE cut (number INTEGER PRIMARY KEY, id BLOB NOT NULL, facts BLOB NOT NULL);
CREATE TABLE item (record INTEGER PRIMARY KEY, parent INTEGER NOT NULL, fingerprint INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX item_parent ON item (parent);
CREATE TABLE change (number INTEGER NOT NULL, record INTEGER NOT NULL, parent INTEGER NOT NULL,
  fingerprint INTEGER NOT NULL, body BLOB, PRIMARY KEY (record, number)) WITHOUT ROWID;
CREATE INDEX change_parent ON change (parent);
CREATE TABLE security (number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL);
)";

using Statement = changelog::SqliteStatement;

}  // namespace

class SavedTree::Database {
 public:
  Database(os::FileSystem& files, std::string path) : vfs_(files), path_(std::move(path)) {}
  ~Database() { sqlite3_close(handle_); }

  Result<void> open() {
    const int code = sqlite3_open_v2(path_.c_str(), &handle_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                                     vfs_.name().c_str());
    if (code != SQLITE_OK) return fail(error(code));
    sqlite3_extended_result_codes(handle_, 1);
    sqlite3_limit(handle_, SQLITE_LIMIT_LENGTH, 1 << 30);
    RS_CHECK(
        execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"));
    std::uint64_t format = 0, application = 0, tables = 0;
    RS_TRY(format, number("PRAGMA user_version"));
    RS_TRY(application, number("PRAGMA application_id"));
    RS_TRY(tables, number("SELECT count(*) FROM sqlite_schema"));
    if (format == 0 && application == 0 && tables == 0) {
      const auto sql = "BEGIN IMMEDIATE;" + std::string(kSchema) +
                       "PRAGMA application_id=" + std::to_string(kApplicationId) +
                       ";PRAGMA user_version=" + std::to_string(kFormat) + ";COMMIT;";
      RS_CHECK(execute(sql.c_str()));
    } else if (application != kApplicationId || format != kFormat) {
      return fail(corrupt("not one of ours, or of another format (" + std::to_string(format) + ")"));
    }
    RS_TRY(const auto latest, number("SELECT coalesce(max(number), 0) FROM cut"));
    return latest == 0 ? Result<void>{} : load_facts(latest);
  }

  Error corrupt(const std::string& what) const {
    return Error(ErrorCode::corrupt, "the scan's table " + path_ + ": " + what);
  }
  Error error(int code) const {
    return changelog::sqlite_failure(handle_, code, "the scan's table " + path_);
  }
  Result<void> execute(const char* sql) {
    const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) return fail(error(code));
    return {};
  }
  Result<void> run(Statement& statement) {
    const int code = statement.step();
    if (code != SQLITE_DONE) return fail(error(code));
    return {};
  }
  Result<std::uint64_t> number(const char* sql) {
    Statement query(handle_, sql);
    if (const int code = query.step(); code != SQLITE_ROW) return fail(error(code));
    return query.integer(0);
  }
  template <class Work>
  Result<void> transaction(Work work) {
    RS_CHECK(execute("BEGIN IMMEDIATE"));
    auto done = [&]() -> Result<void> {
      RS_CHECK(work());
      return execute("COMMIT");
    }();
    if (!done && sqlite3_get_autocommit(handle_) == 0) (void)execute("ROLLBACK");
    return done;
  }
  Result<void> load_facts(std::uint64_t number) {
    Statement query(handle_, "SELECT facts FROM cut WHERE number=?");
    if (const int code = query.bind(number).step(); code != SQLITE_ROW) return fail(error(code));
    auto decoded = decode<CutFacts>(query.blob(0));
    if (!decoded) return fail(corrupt(decoded.error().to_string()));
    facts_ = std::move(*decoded);
    present_ = number;
    return {};
  }
  Result<std::uint64_t> number_of_cut(const Guid& id) {
    Statement query(handle_, "SELECT number FROM cut WHERE id=? ORDER BY number DESC");
    const int code = query.bind(ByteView(id.bytes)).step();
    if (code == SQLITE_DONE)
      return fail(ErrorCode::not_found,
                  "the scan's table " + path_ + ": knows of no cut " + id.to_string() +
                      ", where the previous batch ended: what was saved of this session cannot be told; copy "
                      "what is to be kept from the profile's folder and log on with ReplaceLeftovers");
    if (code != SQLITE_ROW) return fail(error(code));
    return query.integer(0);
  }
  Result<SavedItem> item_of(const Statement& query, int column) const {
    auto item = decode<SavedItem>(query.blob(column));
    if (!item) return fail(corrupt(item.error().to_string()));
    for (const auto& stream : item->streams)
      if (stream.blocks.size() != stream.tags.size())
        return fail(corrupt("tags of record " + std::to_string(item->record) + " without blocks"));
    return std::move(*item);
  }

  changelog::SqliteVfs vfs_;  // outlives the database
  const std::string path_;
  sqlite3* handle_ = nullptr;
  std::optional<CutFacts> facts_;
  std::uint64_t present_ = 0;  // number of the cut
  std::unordered_map<std::string, std::uint32_t> known_security_;
};

SavedTree::SavedTree(std::unique_ptr<Database> database) : database_(std::move(database)) {}
SavedTree::~SavedTree() = default;

Result<std::unique_ptr<SavedTree>> SavedTree::open(os::FileSystem& files, const std::string& path) {
  auto database = std::make_unique<Database>(files, path);
  RS_CHECK(database->open());
  return std::unique_ptr<SavedTree>(new SavedTree(std::move(database)));
}

const std::optional<CutFacts>& SavedTree::facts() const { return database_->facts_; }

Result<void> SavedTree::go_to(const Guid& id) {
  auto& db = *database_;
  if (id.is_zero()) {
    if (!db.facts_) return {};
    RS_CHECK(db.transaction([&] {
      return db.execute("DELETE FROM change; DELETE FROM item; DELETE FROM cut; DELETE FROM security;");
    }));
    db.known_security_.clear();
    db.facts_.reset();
    db.present_ = 0;
    return {};
  }
  if (db.facts_ && db.facts_->id == id) return {};
  RS_TRY(const auto number, db.number_of_cut(id));
  auto done = db.transaction([&]() -> Result<void> {
    for (const char* sql : {"DELETE FROM change WHERE number>?", "DELETE FROM cut WHERE number>?"}) {
      Statement remove(db.handle_, sql);
      RS_CHECK(db.run(remove.bind(number)));
    }
    return {};
  });
  RS_CHECK(std::move(done));
  return db.load_facts(number);
}

Result<void> SavedTree::add_cut(const CutFacts& facts, const std::vector<Change>& changes) {
  auto& db = *database_;
  const auto number = db.present_ + 1;
  auto done = db.transaction([&]() -> Result<void> {
    Statement cut(db.handle_, "INSERT INTO cut VALUES (?,?,?)");
    RS_CHECK(db.run(cut.bind(number).bind(ByteView(facts.id.bytes)).bind(encode(facts))));
    // Before the first cut there is nothing to go back to.
    Statement into_item(db.handle_, "INSERT OR REPLACE INTO item VALUES (?,?,?,?)");
    Statement into_change(db.handle_, "INSERT OR REPLACE INTO change VALUES (?,?,?,?,?)");
    for (const auto& change : changes) {
      const auto parent = change.item && !change.item->names.empty() ? change.item->names.front().parent : 0;
      if (db.present_ == 0) {
        if (!change.item) continue;
        RS_CHECK(db.run(into_item.again()
                            .bind(change.record)
                            .bind(parent)
                            .bind(change.fingerprint)
                            .bind(encode(*change.item))));
        continue;
      }
      into_change.again().bind(number).bind(change.record).bind(parent).bind(change.fingerprint);
      RS_CHECK(db.run(change.item ? into_change.bind(encode(*change.item)) : into_change.bind_null()));
    }
    return {};
  });
  RS_CHECK(std::move(done));
  db.facts_ = facts;
  db.present_ = number;
  return {};
}

Result<void> SavedTree::settle(const Guid& id) {
  auto& db = *database_;
  auto number = db.number_of_cut(id);
  if (!number) return number.error().code == ErrorCode::not_found ? Result<void>{} : fail(number.error());
  return db.transaction([&]() -> Result<void> {
    for (const char* sql :
         {"DELETE FROM item WHERE record IN (SELECT record FROM change WHERE number<=?1)",
          "INSERT INTO item SELECT record, parent, fingerprint, body FROM change c WHERE number<=?1 AND body "
          "IS NOT NULL "
          "AND number=(SELECT max(number) FROM change WHERE record=c.record AND number<=?1)",
          "DELETE FROM change WHERE number<=?1", "DELETE FROM cut WHERE number<?1"}) {
      Statement fold(db.handle_, sql);
      RS_CHECK(db.run(fold.bind(*number)));
    }
    return {};
  });
}

Result<std::vector<CutFacts>> SavedTree::cuts() const {
  auto& db = *database_;
  Statement query(db.handle_, "SELECT facts FROM cut ORDER BY number");
  std::vector<CutFacts> cuts;
  for (;;) {
    const int code = query.step();
    if (code == SQLITE_DONE) return cuts;
    if (code != SQLITE_ROW) return fail(db.error(code));
    auto facts = decode<CutFacts>(query.blob(0));
    if (!facts) return fail(db.corrupt(facts.error().to_string()));
    cuts.push_back(std::move(*facts));
  }
}

Result<std::optional<SavedItem>> SavedTree::find(std::uint64_t record) const {
  auto& db = *database_;
  Statement change(db.handle_, "SELECT body FROM change WHERE record=? ORDER BY number DESC LIMIT 1");
  int code = change.bind(record).step();
  if (code == SQLITE_ROW) {
    if (change.is_null(0)) return std::optional<SavedItem>();
    RS_TRY(auto item, db.item_of(change, 0));
    return std::optional(std::move(item));
  }
  if (code != SQLITE_DONE) return fail(db.error(code));
  Statement item(db.handle_, "SELECT body FROM item WHERE record=?");
  code = item.bind(record).step();
  if (code == SQLITE_DONE) return std::optional<SavedItem>();
  if (code != SQLITE_ROW) return fail(db.error(code));
  RS_TRY(auto found, db.item_of(item, 0));
  return std::optional(std::move(found));
}

Result<std::unordered_map<std::uint64_t, std::uint64_t>> SavedTree::fingerprints() const {
  auto& db = *database_;
  std::unordered_map<std::uint64_t, std::uint64_t> found;
  for (const char* sql : {"SELECT record, fingerprint, 0 FROM item",
                          "SELECT record, fingerprint, body IS NULL FROM change ORDER BY number"}) {
    Statement query(db.handle_, sql);
    for (;;) {
      const int code = query.step();
      if (code == SQLITE_DONE) break;
      if (code != SQLITE_ROW) return fail(db.error(code));
      if (query.integer(2) != 0) {
        found.erase(query.integer(0));
      } else {
        found[query.integer(0)] = query.integer(1);
      }
    }
  }
  return found;
}

Result<std::vector<std::uint64_t>> SavedTree::children(std::uint64_t directory) const {
  auto& db = *database_;
  std::vector<std::uint64_t> found;
  Statement query(db.handle_,
                  "SELECT record FROM item WHERE parent=?1 UNION SELECT record FROM change WHERE parent=?1");
  query.bind(directory);
  for (;;) {
    const int code = query.step();
    if (code == SQLITE_DONE) return found;
    if (code != SQLITE_ROW) return fail(db.error(code));
    found.push_back(query.integer(0));
  }
}

Result<std::uint32_t> SavedTree::number_of(ByteView security) {
  auto& db = *database_;
  if (security.empty()) return std::uint32_t{0};
  const auto digest = sha256(security);
  const std::string key(as_text(ByteView(digest)));
  if (const auto known = db.known_security_.find(key); known != db.known_security_.end())
    return known->second;
  Statement insert(db.handle_, "INSERT OR IGNORE INTO security (hash, bytes) VALUES (?,?)");
  RS_CHECK(db.run(insert.bind(ByteView(digest)).bind(security)));
  Statement query(db.handle_, "SELECT number FROM security WHERE hash=?");
  if (const int code = query.bind(ByteView(digest)).step(); code != SQLITE_ROW) return fail(db.error(code));
  const auto number = static_cast<std::uint32_t>(query.integer(0));
  db.known_security_.emplace(key, number);
  return number;
}

Result<Bytes> SavedTree::security(std::uint32_t number) const {
  auto& db = *database_;
  Statement query(db.handle_, "SELECT bytes FROM security WHERE number=?");
  const int code = query.bind(std::uint64_t{number}).step();
  if (code == SQLITE_DONE) return fail(db.corrupt("no descriptor " + std::to_string(number)));
  if (code != SQLITE_ROW) return fail(db.error(code));
  const auto bytes = query.blob(0);
  return Bytes(bytes.begin(), bytes.end());
}

}  // namespace roamstead::agent
