#include "coordinator/compose/pool_store.h"

#include "common/os/file.h"

namespace roamstead::compose {
namespace {

using database::Database;
using database::Statement;

constexpr const char* kSchema = R"sql(
CREATE TABLE images(name TEXT PRIMARY KEY, disk TEXT NOT NULL, facts TEXT NOT NULL, disk_id BLOB NOT NULL,
  modified INTEGER NOT NULL, imported INTEGER NOT NULL);
CREATE TABLE pools(name TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(name), specification TEXT NOT NULL,
  directory TEXT NOT NULL, layer TEXT NOT NULL, created INTEGER NOT NULL);
CREATE TABLE clones(name TEXT PRIMARY KEY COLLATE NOCASE, pool TEXT NOT NULL REFERENCES pools(name),
  number INTEGER NOT NULL, state INTEGER NOT NULL, error TEXT NOT NULL, made INTEGER NOT NULL,
  account TEXT NOT NULL);
CREATE INDEX clones_of_pool ON clones(pool, number);
)sql";
// Beside version 1, which knows nothing of it.
constexpr const char* kBootSchema =
    "CREATE TABLE IF NOT EXISTS clone_boots(name TEXT PRIMARY KEY COLLATE NOCASE REFERENCES clones(name) ON "
    "DELETE "
    "CASCADE, state INTEGER NOT NULL, detail TEXT NOT NULL, since INTEGER NOT NULL)";
constexpr std::uint64_t kVersion = 1;
constexpr const char* kImages = "SELECT name, disk, facts, disk_id, modified, imported FROM images ";
constexpr const char* kPools = "SELECT name, image, specification, directory, layer, created FROM pools ";
constexpr const char* kClones = "SELECT name, pool, number, state, error, made, account FROM clones ";

ImageRow image_in(const Statement& row) {
  return {row.text(0),   row.text(1), row.text(2), row.guid(3), static_cast<std::int64_t>(row.integer(4)),
          row.integer(5)};
}
PoolRow pool_in(const Statement& row) {
  return {row.text(0), row.text(1), row.text(2), row.text(3), row.text(4), row.integer(5)};
}
CloneRow clone_in(const Statement& row) {
  return {row.text(0), row.text(1),    row.integer(2), static_cast<CloneState>(row.integer(3)),
          row.text(4), row.integer(5), row.text(6)};
}

template <class Row>
Result<std::vector<Row>> all_of(Statement& statement, Row (*read)(const Statement&)) {
  std::vector<Row> rows;
  for (;;) {
    RS_TRY(const bool more, statement.step());
    if (!more) return rows;
    rows.push_back(read(statement));
  }
}

Result<std::string> user_of(Database& database, const std::string& image) {
  auto statement = database.prepare("SELECT name FROM pools WHERE image = ?");
  RS_TRY(const bool used, statement.bind(image).step());
  return used ? statement.text(0) : std::string();
}

}  // namespace

std::string_view to_string(CloneState state) {
  switch (state) {
    case CloneState::planned:
      return "planned";
    case CloneState::made:
      return "made";
    case CloneState::failed:
      break;
  }
  return "failed";
}

PoolStore::PoolStore(std::unique_ptr<Database> database)
    : database_(std::move(database)), group_(*database_, mutex_) {}

Result<std::unique_ptr<PoolStore>> PoolStore::open(const std::string& state_directory) {
  const auto path = os::join_path(state_directory, "compose.db");
  RS_TRY(auto database, Database::open(path));
  std::uint64_t version = 0;
  {
    auto statement = database->prepare("PRAGMA user_version");
    RS_TRY(const bool row, statement.step());
    if (row) version = statement.integer(0);
  }
  if (version > kVersion)
    return fail(ErrorCode::unsupported, path + ": written by a newer coordinator (version " +
                                            std::to_string(version) + ", this one knows " +
                                            std::to_string(kVersion) + ")");
  if (version == 0) {
    RS_TRY(auto transaction, database::Transaction::begin(*database));
    RS_CHECK(database->execute(kSchema));
    RS_CHECK(database->execute("PRAGMA user_version = 1"));
    RS_CHECK(transaction.commit());
  }
  RS_CHECK(database->execute(kBootSchema));
  return std::unique_ptr<PoolStore>(new PoolStore(std::move(database)));
}

Result<void> PoolStore::put_image(const ImageRow& image) {
  return group_.run([&](Database& database) -> Result<void> {
    RS_TRY(const auto user, user_of(database, image.name));
    if (!user.empty())
      return fail(ErrorCode::conflict,
                  "image '" + image.name + "' is used by pool '" + user +
                      "', whose desktops depend on it; import the new one under another name");
    return database.prepare("INSERT OR REPLACE INTO images VALUES(?, ?, ?, ?, ?, ?)")
        .bind(image.name)
        .bind(image.disk)
        .bind(image.facts)
        .bind(image.disk_id)
        .bind(static_cast<std::uint64_t>(image.modified_s))
        .bind(image.imported_100ns)
        .run();
  });
}

Result<ImageRow> PoolStore::image(const std::string& name) const {
  std::lock_guard guard(mutex_);
  auto statement = database_->prepare((std::string(kImages) + "WHERE name = ?").c_str());
  RS_TRY(const bool found, statement.bind(name).step());
  if (!found)
    return fail(ErrorCode::not_found, "no image '" + name +
                                          "'; 'roamstead image import' makes one, 'image list' "
                                          "shows all");
  return image_in(statement);
}

Result<std::vector<ImageRow>> PoolStore::images() const {
  std::lock_guard guard(mutex_);
  auto statement = database_->prepare((std::string(kImages) + "ORDER BY name").c_str());
  return all_of(statement, image_in);
}

Result<void> PoolStore::remove_image(const std::string& name) {
  return group_.run([&](Database& database) -> Result<void> {
    RS_TRY(const auto user, user_of(database, name));
    if (!user.empty())
      return fail(ErrorCode::conflict, "image '" + name + "' is used by pool '" + user + "'");
    auto statement = database.prepare("DELETE FROM images WHERE name = ? RETURNING name");
    RS_TRY(const bool found, statement.bind(name).step());
    if (!found) return fail(ErrorCode::not_found, "no image '" + name + "'");
    return statement.run();
  });
}

Result<void> PoolStore::add_pool(const PoolRow& pool, const std::vector<std::string>& clones) {
  return group_.run([&](Database& database) -> Result<void> {
    auto added = database.prepare("INSERT INTO pools VALUES(?, ?, ?, ?, ?, ?)")
                     .bind(pool.name)
                     .bind(pool.image)
                     .bind(pool.specification)
                     .bind(pool.directory)
                     .bind(pool.layer)
                     .bind(pool.created_100ns)
                     .run();
    if (!added && added.error().code == ErrorCode::exists)
      return fail(ErrorCode::exists, "pool '" + pool.name + "' is there already");
    RS_CHECK(added);
    std::uint64_t number = 0;
    for (const auto& name : clones) {
      auto cloned = database.prepare("INSERT INTO clones VALUES(?, ?, ?, 0, '', 0, '')")
                        .bind(name)
                        .bind(pool.name)
                        .bind(number++)
                        .run();
      if (!cloned && cloned.error().code == ErrorCode::exists)
        return fail(ErrorCode::exists, "a desktop '" + name + "' is in a pool already; choose other names");
      RS_CHECK(cloned);
    }
    return {};
  });
}

Result<PoolRow> PoolStore::pool(const std::string& name) const {
  std::lock_guard guard(mutex_);
  auto statement = database_->prepare((std::string(kPools) + "WHERE name = ?").c_str());
  RS_TRY(const bool found, statement.bind(name).step());
  if (!found) return fail(ErrorCode::not_found, "no pool '" + name + "'; 'roamstead pool list' shows all");
  return pool_in(statement);
}

Result<std::vector<PoolRow>> PoolStore::pools() const {
  std::lock_guard guard(mutex_);
  auto statement = database_->prepare((std::string(kPools) + "ORDER BY name").c_str());
  return all_of(statement, pool_in);
}

Result<void> PoolStore::set_layer(const std::string& pool, const std::string& layer) {
  return group_.run([&](Database& database) {
    return database.prepare("UPDATE pools SET layer = ? WHERE name = ?").bind(layer).bind(pool).run();
  });
}

Result<void> PoolStore::remove_pool(const std::string& name) {
  return group_.run([&](Database& database) -> Result<void> {
    RS_CHECK(database.prepare("DELETE FROM clones WHERE pool = ?").bind(name).run());
    return database.prepare("DELETE FROM pools WHERE name = ?").bind(name).run();
  });
}

Result<CloneRow> PoolStore::clone(const std::string& name) const {
  std::lock_guard guard(mutex_);
  auto statement = database_->prepare((std::string(kClones) + "WHERE name = ?").c_str());
  RS_TRY(const bool found, statement.bind(name).step());
  if (!found) return fail(ErrorCode::not_found, "no clone '" + name + "'; 'roamstead clone list' shows all");
  return clone_in(statement);
}

Result<std::vector<CloneRow>> PoolStore::clones(const std::string& pool) const {
  std::lock_guard guard(mutex_);
  auto statement =
      database_->prepare((std::string(kClones) + "WHERE ?1 = '' OR pool = ?1 ORDER BY pool, number").c_str());
  statement.bind(pool);
  return all_of(statement, clone_in);
}

Result<void> PoolStore::set_clone(const CloneRow& clone) {
  return group_.run([&](Database& database) {
    return database.prepare("UPDATE clones SET state = ?, error = ?, made = ?, account = ? WHERE name = ?")
        .bind(static_cast<std::uint64_t>(clone.state))
        .bind(clone.error)
        .bind(clone.made_100ns)
        .bind(clone.account)
        .bind(clone.name)
        .run();
  });
}

Result<void> PoolStore::intend_accounts(const std::vector<std::string>& clones) {
  return group_.run([&](Database& database) -> Result<void> {
    for (const auto& name : clones)
      RS_CHECK(database.prepare("UPDATE clones SET account = ? WHERE name = ? AND account = ''")
                   .bind(kAccountIntended)
                   .bind(name)
                   .run());
    return {};
  });
}

Result<void> PoolStore::remove_clone(const std::string& name) {
  return group_.run([&](Database& database) {
    return database.prepare("DELETE FROM clones WHERE name = ?").bind(name).run();
  });
}

}  // namespace roamstead::compose
