#include "coordinator/server/state_store.h"

#include <chrono>

#include "coordinator/server/state_store_impl.h"

namespace roamstead::server {
namespace {

using FileTimeTicks = std::chrono::duration<std::int64_t, std::ratio<1, 10'000'000>>;

constexpr const char* kSchema = R"sql(
CREATE TABLE desktops(serial TEXT PRIMARY KEY, name TEXT NOT NULL, enrolled INTEGER NOT NULL, revoked INTEGER NOT NULL);
CREATE UNIQUE INDEX live_desktops ON desktops(name) WHERE revoked = 0;
CREATE TABLE assignments(desktop TEXT NOT NULL, profile BLOB NOT NULL, profile_name TEXT NOT NULL,
  PRIMARY KEY(desktop, profile));
CREATE TABLE epochs(profile BLOB PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE sessions(id BLOB PRIMARY KEY, secret_digest BLOB NOT NULL UNIQUE, desktop TEXT NOT NULL, profile BLOB NOT NULL,
  profile_name TEXT NOT NULL, profile_root TEXT NOT NULL, epoch INTEGER NOT NULL, version INTEGER NOT NULL,
  state INTEGER NOT NULL, opened INTEGER NOT NULL, ended INTEGER NOT NULL);
CREATE TABLE incarnations(incarnation BLOB PRIMARY KEY, session BLOB NOT NULL REFERENCES sessions(id),
  sequence INTEGER NOT NULL, base_version INTEGER NOT NULL, noted_ordinal INTEGER NOT NULL, noted_snapshot BLOB NOT NULL);
CREATE INDEX incarnations_of_session ON incarnations(session);
)sql";
// Pools, tokens, groups; several certificates for one desktop.
constexpr const char* kAccessSchema = R"sql(
CREATE TABLE pools(name TEXT PRIMARY KEY, session_policy TEXT NOT NULL, quota_bytes INTEGER NOT NULL, created INTEGER NOT NULL);
INSERT INTO pools VALUES('default', 'takeover', 0, 0);
ALTER TABLE desktops ADD COLUMN pool TEXT NOT NULL DEFAULT 'default';
CREATE TABLE certificates(serial TEXT PRIMARY KEY, enrolment TEXT NOT NULL REFERENCES desktops(serial),
  issued INTEGER NOT NULL, expires INTEGER NOT NULL);
CREATE INDEX certificates_of_enrolment ON certificates(enrolment);
INSERT INTO certificates SELECT serial, serial, enrolled, 0 FROM desktops;
CREATE TABLE tokens(id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, pool TEXT NOT NULL, uses INTEGER NOT NULL,
  uses_left INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL, created_by TEXT NOT NULL,
  revoked INTEGER NOT NULL);
ALTER TABLE assignments ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
CREATE TABLE groups(name TEXT PRIMARY KEY);
CREATE TABLE group_members(grp TEXT NOT NULL REFERENCES groups(name), profile BLOB NOT NULL, profile_name TEXT NOT NULL,
  PRIMARY KEY(grp, profile));
CREATE TABLE rules(pool TEXT NOT NULL REFERENCES pools(name), grp TEXT NOT NULL REFERENCES groups(name),
  until INTEGER NOT NULL, PRIMARY KEY(pool, grp));
CREATE TABLE audit_head(id INTEGER PRIMARY KEY CHECK(id = 1), sequence INTEGER NOT NULL, hash BLOB NOT NULL);
)sql";
// Administrators over TLS, and what the REST interface keeps.
constexpr const char* kRestSchema = R"sql(
CREATE TABLE administrators(serial TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, issued INTEGER NOT NULL,
  expires INTEGER NOT NULL, revoked INTEGER NOT NULL, issued_by TEXT NOT NULL);
CREATE TABLE answers(key BLOB PRIMARY KEY, request BLOB NOT NULL, began INTEGER NOT NULL, answer BLOB NOT NULL);
CREATE INDEX answers_by_time ON answers(began);
CREATE TABLE operations(id TEXT PRIMARY KEY, created INTEGER NOT NULL, text TEXT NOT NULL);
)sql";
// The schema's versions: what makes each of the one before. Only ever appended to.
constexpr const char* kSchemaSteps[] = {
    kSchema,
    "ALTER TABLE sessions ADD COLUMN mode INTEGER NOT NULL DEFAULT 0",
    kAccessSchema,
    kRestSchema,
    "CREATE TABLE quotas(profile BLOB PRIMARY KEY, quota_bytes INTEGER NOT NULL)",
    "ALTER TABLE desktops ADD COLUMN disk TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE desktops ADD COLUMN partition INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE enrolments(token TEXT NOT NULL, name TEXT NOT NULL, request BLOB NOT NULL, serial TEXT NOT "
    "NULL, "
    "made INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY(token, name))",
    // Rules of profiles, as TOML; `rules` above is who may open what.
    "CREATE TABLE pool_profile_rules(pool TEXT PRIMARY KEY REFERENCES pools(name), text TEXT NOT NULL);"
    "CREATE TABLE profile_rules(profile BLOB PRIMARY KEY, text TEXT NOT NULL)",
    "CREATE TABLE pool_agent_settings(pool TEXT PRIMARY KEY REFERENCES pools(name), text TEXT NOT NULL)",
};
constexpr std::uint64_t kSchemaVersion = std::size(kSchemaSteps);
constexpr const char* kSessionColumns =
    "SELECT id, secret_digest, desktop, profile, profile_name, profile_root, epoch, version, state, opened, "
    "ended, mode FROM sessions ";

SessionRow session_of(const Statement& row) {
  SessionRow session;
  session.id = row.guid(0);
  session.secret_digest = row.blob(1);
  session.desktop = row.text(2);
  session.profile = row.guid(3);
  session.profile_name = row.text(4);
  session.profile_root = row.text(5);
  session.epoch = row.integer(6);
  session.version = row.integer(7);
  session.state = static_cast<SessionState>(row.integer(8));
  session.opened_100ns = row.integer(9);
  session.ended_100ns = row.integer(10);
  session.mode = static_cast<SessionMode>(row.integer(11));
  return session;
}

Result<std::optional<SessionRow>> one_session(Statement& statement) {
  RS_TRY(bool found, statement.step());
  if (!found) return std::optional<SessionRow>();
  return std::optional<SessionRow>(session_of(statement));
}

Result<void> insert_incarnation(Database& database, const Guid& session, const IncarnationRow& row) {
  return database.prepare("INSERT INTO incarnations VALUES(?, ?, ?, ?, ?, ?)")
      .bind(row.incarnation)
      .bind(session)
      .bind(row.sequence)
      .bind(row.base_version)
      .bind(row.noted_ordinal)
      .bind(row.noted_snapshot)
      .run();
}

}  // namespace

StateStore::StateStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StateStore::~StateStore() = default;

Result<std::unique_ptr<StateStore>> StateStore::open(const std::string& directory) {
  auto path = os::join_path(directory, "state.db");
  // Made here where it is missing: for nobody else to read, which SQLite leaves to the umask.
  RS_TRY(bool there, os::real_file_system().exists(path));
  if (!there) {
    RS_TRY(auto file, os::real_file_system().open(path, os::OpenMode::create));
  }
  RS_TRY(auto database, Database::open(path));
  RS_TRY(auto transaction, Transaction::begin(*database));
  std::uint64_t version = 0;
  {
    auto statement = database->prepare("PRAGMA user_version");
    RS_TRY(bool row, statement.step());
    if (row) version = statement.integer(0);
  }
  if (version > kSchemaVersion)
    return fail(ErrorCode::unsupported, path + ": of version " + std::to_string(version) +
                                            ", this program knows " + std::to_string(kSchemaVersion));
  for (; version < kSchemaVersion; ++version) {
    RS_CHECK_CTX("bringing it to version " + std::to_string(version + 1),
                 database->execute(kSchemaSteps[version]));
    auto noted = "PRAGMA user_version = " + std::to_string(version + 1);
    RS_CHECK(database->execute(noted.c_str()));
  }
  RS_CHECK(transaction.commit());
  RS_TRY(auto reader, Database::open_reader(path));
  auto impl = std::make_unique<Impl>(std::move(database), std::move(reader));
  RS_CHECK(note_open_until(*impl->database, impl->enrolment_open_until));
  return std::unique_ptr<StateStore>(new StateStore(std::move(impl)));
}

Result<std::uint64_t> StateStore::epoch(const repository::ProfileId& profile) const {
  std::lock_guard guard(impl_->reader_mutex);
  auto statement = impl_->reader->prepare("SELECT epoch FROM epochs WHERE profile = ?");
  RS_TRY(bool row, statement.bind(profile).step());
  return row ? statement.integer(0) : 0;
}

Result<void> StateStore::begin_session(const SessionRow& session, const IncarnationRow& first,
                                       const std::optional<Guid>& ended) {
  return impl_->group.run([&](Database& database) -> Result<void> {
    if (ended)
      RS_CHECK(database.prepare("UPDATE sessions SET state = ?, ended = ? WHERE id = ?")
                   .bind(static_cast<std::uint64_t>(SessionState::superseded))
                   .bind(session.opened_100ns)
                   .bind(*ended)
                   .run());
    RS_CHECK(database.prepare("INSERT OR REPLACE INTO epochs VALUES(?, ?)")
                 .bind(session.profile)
                 .bind(session.epoch)
                 .run());
    RS_CHECK(database.prepare("INSERT INTO sessions VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
                 .bind(session.id)
                 .bind(ByteView(session.secret_digest))
                 .bind(session.desktop)
                 .bind(session.profile)
                 .bind(session.profile_name)
                 .bind(session.profile_root)
                 .bind(session.epoch)
                 .bind(session.version)
                 .bind(static_cast<std::uint64_t>(session.state))
                 .bind(session.opened_100ns)
                 .bind(session.ended_100ns)
                 .bind(static_cast<std::uint64_t>(session.mode))
                 .run());
    return insert_incarnation(database, session.id, first);
  });
}

Result<void> StateStore::end_session(const Guid& id, SessionState state, std::uint64_t now) {
  return impl_->group.run([&](Database& database) {
    return database.prepare("UPDATE sessions SET state = ?, ended = ? WHERE id = ?")
        .bind(static_cast<std::uint64_t>(state))
        .bind(now)
        .bind(id)
        .run();
  });
}

Result<void> StateStore::add_incarnation(const Guid& session, const IncarnationRow& row) {
  return impl_->group.run([&](Database& database) { return insert_incarnation(database, session, row); });
}

Result<void> StateStore::note_ordinal(const IncarnationRow& row) {
  return impl_->group.run([&](Database& database) {
    return database
        .prepare("UPDATE incarnations SET noted_ordinal = ?, noted_snapshot = ? WHERE incarnation = ?")
        .bind(row.noted_ordinal)
        .bind(row.noted_snapshot)
        .bind(row.incarnation)
        .run();
  });
}

// Each statement takes a bounded number of rows, so that nobody waits for long behind it.
Result<std::uint64_t> StateStore::prune(std::uint64_t now) {
  const auto before = [now](std::chrono::hours age) {
    const auto ticks = std::chrono::duration_cast<FileTimeTicks>(age).count();
    return now > static_cast<std::uint64_t>(ticks) ? now - static_cast<std::uint64_t>(ticks) : 0;
  };
  constexpr const char* kOldSessions =
      "(SELECT id FROM sessions WHERE state != 0 AND ended < ? ORDER BY ended, id LIMIT 500)";
  std::uint64_t gone = 0;
  const auto work = [&](Database& database) -> Result<void> {
    const auto run = [&](const std::string& sql, std::uint64_t limit) -> Result<void> {
      RS_CHECK(database.prepare(sql.c_str()).bind(limit).run());
      auto changes = database.prepare("SELECT changes()");
      RS_TRY(bool row, changes.step());
      if (row) gone += changes.integer(0);
      return {};
    };
    const auto sessions = before(kKeptSessions), certificates = before(kKeptCertificates);
    RS_CHECK(run(std::string("DELETE FROM incarnations WHERE session IN ") + kOldSessions, sessions));
    RS_CHECK(run(std::string("DELETE FROM sessions WHERE id IN ") + kOldSessions, sessions));
    RS_CHECK(run("DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires < ? LIMIT 500)",
                 before(kKeptTokens)));
    RS_CHECK(run("DELETE FROM enrolments WHERE until < ?", now));
    // Not the one that an enrolment is known by.
    RS_CHECK(
        run("DELETE FROM certificates WHERE serial IN (SELECT serial FROM certificates WHERE expires != 0 "
            "AND expires < ? AND serial != enrolment LIMIT 500)",
            certificates));
    return {};
  };
  RS_CHECK(impl_->group.run(work));
  return gone;
}

Result<std::vector<SessionRow>> StateStore::sessions(bool active_only) const {
  std::lock_guard guard(impl_->mutex);
  auto sql =
      std::string(kSessionColumns) + (active_only ? "WHERE state = 0 ORDER BY opened" : "ORDER BY opened");
  auto statement = impl_->database->prepare(sql.c_str());
  std::vector<SessionRow> found;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return found;
    found.push_back(session_of(statement));
  }
}

Result<std::optional<SessionRow>> StateStore::find_session(const Guid& id) const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare((std::string(kSessionColumns) + "WHERE id = ?").c_str());
  statement.bind(id);
  return one_session(statement);
}

Result<std::optional<SessionRow>> StateStore::find_session_by_digest(ByteView digest) const {
  std::lock_guard guard(impl_->reader_mutex);
  auto statement = impl_->reader->prepare((std::string(kSessionColumns) + "WHERE secret_digest = ?").c_str());
  statement.bind(digest);
  return one_session(statement);
}

Result<std::vector<IncarnationRow>> StateStore::incarnations(const Guid& session) const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare(
      "SELECT incarnation, sequence, base_version, noted_ordinal, noted_snapshot FROM incarnations WHERE "
      "session = ? "
      "ORDER BY sequence");
  statement.bind(session);
  std::vector<IncarnationRow> found;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return found;
    found.push_back({statement.guid(0), statement.integer(1), statement.integer(2), statement.integer(3),
                     statement.guid(4)});
  }
}

}  // namespace roamstead::server
