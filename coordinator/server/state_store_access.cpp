// Who may get in and open what: pools, desktops, assignments.
#include "coordinator/server/state_store_impl.h"

namespace roamstead::server {
namespace {

constexpr const char* kPoolColumns = "SELECT name, session_policy, quota_bytes, created FROM pools ";

Pool pool_in(const Statement& row) { return {row.text(0), row.text(1), row.integer(2), row.integer(3)}; }

Result<Pool> find_pool(Database& database, const std::string& name) {
  auto statement = database.prepare((std::string(kPoolColumns) + "WHERE name = ?").c_str());
  RS_TRY(bool row, statement.bind(name).step());
  if (!row)
    return fail(ErrorCode::not_found,
                "no pool '" + name + "'; 'roamstead desktop-pool create' makes one, 'list' shows all");
  return pool_in(statement);
}

// Tables that keep a text for a key; none is kept as no row.
struct TextTable {
  const char* name;
  const char* key;
};
constexpr TextTable kPoolRules{"pool_profile_rules", "pool"}, kProfileRules{"profile_rules", "profile"},
    kPoolAgentSettings{"pool_agent_settings", "pool"};

template <class Key>
Result<void> put_text(Database& database, const TextTable& table, const Key& key, const std::string& text) {
  const std::string name = table.name;
  if (text.empty())
    return database.prepare(("DELETE FROM " + name + " WHERE " + table.key + " = ?").c_str()).bind(key).run();
  return database.prepare(("INSERT OR REPLACE INTO " + name + " VALUES(?, ?)").c_str())
      .bind(key)
      .bind(text)
      .run();
}

template <class Key>
Result<std::string> text_of(Database& database, const TextTable& table, const Key& key) {
  auto statement = database.prepare(
      (std::string("SELECT text FROM ") + table.name + " WHERE " + table.key + " = ?").c_str());
  RS_TRY(bool row, statement.bind(key).step());
  return row ? statement.text(0) : std::string();
}

}  // namespace

Result<void> insert_desktop(Database& database, const Desktop& desktop, std::uint64_t expires_100ns) {
  auto added =
      database.prepare("INSERT INTO desktops(serial, name, enrolled, revoked, pool) VALUES(?, ?, ?, 0, ?)")
          .bind(desktop.serial)
          .bind(desktop.name)
          .bind(desktop.enrolled_100ns)
          .bind(desktop.pool)
          .run();
  if (!added && added.error().code == ErrorCode::exists)
    return fail(ErrorCode::exists,
                "desktop '" + desktop.name + "' is enrolled; revoke it first to enrol it again");
  if (!added) return added;
  return database.prepare("INSERT INTO certificates VALUES(?, ?, ?, ?)")
      .bind(desktop.serial)
      .bind(desktop.serial)
      .bind(desktop.enrolled_100ns)
      .bind(expires_100ns)
      .run();
}

Result<void> StateStore::add_pool(const Pool& pool) {
  std::lock_guard guard(impl_->mutex);
  auto added = impl_->database->prepare("INSERT INTO pools VALUES(?, ?, ?, ?)")
                   .bind(pool.name)
                   .bind(pool.session_policy)
                   .bind(pool.quota_bytes)
                   .bind(pool.created_100ns)
                   .run();
  if (!added && added.error().code == ErrorCode::exists)
    return fail(ErrorCode::exists, "pool '" + pool.name + "' is there already");
  return added;
}

Result<void> StateStore::set_pool(const Pool& pool) {
  std::lock_guard guard(impl_->mutex);
  RS_CHECK(find_pool(*impl_->database, pool.name));
  return impl_->database->prepare("UPDATE pools SET session_policy = ?, quota_bytes = ? WHERE name = ?")
      .bind(pool.session_policy)
      .bind(pool.quota_bytes)
      .bind(pool.name)
      .run();
}

Result<std::vector<Pool>> StateStore::pools() const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare((std::string(kPoolColumns) + "ORDER BY name").c_str());
  std::vector<Pool> found;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return found;
    found.push_back(pool_in(statement));
  }
}

Result<Pool> StateStore::pool(const std::string& name) const {
  std::lock_guard guard(impl_->mutex);
  return find_pool(*impl_->database, name);
}

Result<Pool> StateStore::pool_of(const std::string& desktop) const {
  std::lock_guard guard(impl_->reader_mutex);
  auto statement = impl_->reader->prepare("SELECT pool FROM desktops WHERE name = ? AND revoked = 0");
  RS_TRY(bool row, statement.bind(desktop).step());
  return find_pool(*impl_->reader, row ? statement.text(0) : kDefaultPool);
}

Result<void> StateStore::set_pool_of(const std::string& desktop, const std::string& pool) {
  std::lock_guard guard(impl_->mutex);
  RS_CHECK(find_pool(*impl_->database, pool));
  auto statement = impl_->database->prepare(
      "UPDATE desktops SET pool = ? WHERE name = ? AND revoked = 0 RETURNING serial");
  RS_TRY(bool found, statement.bind(pool).bind(desktop).step());
  if (!found) return fail(ErrorCode::not_found, "no desktop '" + desktop + "' is enrolled");
  return statement.run();
}

Result<void> StateStore::set_quota(const repository::ProfileId& profile,
                                   std::optional<std::uint64_t> quota_bytes) {
  std::lock_guard guard(impl_->mutex);
  if (!quota_bytes)
    return impl_->database->prepare("DELETE FROM quotas WHERE profile = ?").bind(profile).run();
  return impl_->database->prepare("INSERT OR REPLACE INTO quotas VALUES(?, ?)")
      .bind(profile)
      .bind(*quota_bytes)
      .run();
}

Result<std::optional<std::uint64_t>> StateStore::quota(const repository::ProfileId& profile) const {
  std::lock_guard guard(impl_->reader_mutex);
  auto statement = impl_->reader->prepare("SELECT quota_bytes FROM quotas WHERE profile = ?");
  RS_TRY(bool row, statement.bind(profile).step());
  return row ? std::optional(statement.integer(0)) : std::nullopt;
}

Result<void> StateStore::set_pool_rules(const std::string& pool, const std::string& text) {
  std::lock_guard guard(impl_->mutex);
  RS_CHECK(find_pool(*impl_->database, pool));
  return put_text(*impl_->database, kPoolRules, pool, text);
}

Result<std::string> StateStore::pool_rules(const std::string& pool) const {
  std::lock_guard guard(impl_->reader_mutex);
  return text_of(*impl_->reader, kPoolRules, pool);
}

Result<void> StateStore::set_pool_agent_settings(const std::string& pool, const std::string& text) {
  std::lock_guard guard(impl_->mutex);
  RS_CHECK(find_pool(*impl_->database, pool));
  return put_text(*impl_->database, kPoolAgentSettings, pool, text);
}

Result<std::string> StateStore::pool_agent_settings(const std::string& pool) const {
  std::lock_guard guard(impl_->reader_mutex);
  return text_of(*impl_->reader, kPoolAgentSettings, pool);
}

Result<void> StateStore::set_profile_rules(const repository::ProfileId& profile, const std::string& text) {
  std::lock_guard guard(impl_->mutex);
  return put_text(*impl_->database, kProfileRules, profile, text);
}

Result<std::string> StateStore::profile_rules(const repository::ProfileId& profile) const {
  std::lock_guard guard(impl_->reader_mutex);
  return text_of(*impl_->reader, kProfileRules, profile);
}

Result<void> StateStore::set_disk_of(const std::string& desktop, const std::string& disk,
                                     std::uint32_t partition) {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare(
      "UPDATE desktops SET disk = ?, partition = ? WHERE name = ? AND revoked = 0 RETURNING serial");
  RS_TRY(bool found, statement.bind(disk).bind(std::uint64_t{partition}).bind(desktop).step());
  if (!found) return fail(ErrorCode::not_found, "no desktop '" + desktop + "' is enrolled");
  return statement.run();
}

Result<void> StateStore::add_desktop(const Desktop& desktop) {
  return impl_->group.run([&](Database& database) -> Result<void> {
    RS_CHECK(find_pool(database, desktop.pool));
    return insert_desktop(database, desktop, 0);
  });
}

Result<bool> StateStore::is_enrolled(const std::string& name) const {
  std::lock_guard guard(impl_->reader_mutex);
  auto statement = impl_->reader->prepare("SELECT 1 FROM desktops WHERE name = ? AND revoked = 0");
  return statement.bind(name).step();
}

Result<void> StateStore::revoke_desktop(const std::string& name, std::uint64_t now) {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare(
      "UPDATE desktops SET revoked = ? WHERE name = ? AND revoked = 0 RETURNING serial");
  RS_TRY(bool found, statement.bind(now).bind(name).step());
  if (!found) return fail(ErrorCode::not_found, "no desktop '" + name + "' is enrolled");
  return statement.run();
}

Result<std::vector<Desktop>> StateStore::desktops() const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare(
      "SELECT name, serial, enrolled, revoked, pool, disk, partition FROM desktops ORDER BY name, enrolled");
  std::vector<Desktop> found;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return found;
    found.push_back({statement.text(0), statement.text(1), statement.integer(2), statement.integer(3),
                     statement.text(4), statement.text(5), static_cast<std::uint32_t>(statement.integer(6))});
  }
}

Result<void> StateStore::check_desktop(const std::string& name, const std::string& serial) const {
  std::lock_guard guard(impl_->reader_mutex);
  auto statement = impl_->reader->prepare(
      "SELECT d.revoked FROM certificates c JOIN desktops d ON d.serial = c.enrolment WHERE c.serial = ? AND "
      "d.name = ?");
  RS_TRY(bool row, statement.bind(serial).bind(name).step());
  if (!row)
    return fail(ErrorCode::denied, "desktop '" + name + "' is not enrolled here with certificate " + serial);
  if (statement.integer(0) != 0)
    return fail(ErrorCode::denied, "the certificate of desktop '" + name + "' is revoked");
  return {};
}

Result<void> StateStore::assign(const Assignment& assignment) {
  std::lock_guard guard(impl_->mutex);
  return impl_->database->prepare("INSERT OR REPLACE INTO assignments VALUES(?, ?, ?, ?)")
      .bind(assignment.desktop)
      .bind(assignment.profile)
      .bind(assignment.profile_name)
      .bind(assignment.until_100ns)
      .run();
}

Result<void> StateStore::unassign(const std::string& desktop, const repository::ProfileId& profile) {
  std::lock_guard guard(impl_->mutex);
  auto statement =
      impl_->database->prepare("DELETE FROM assignments WHERE desktop = ? AND profile = ? RETURNING desktop");
  RS_TRY(bool found, statement.bind(desktop).bind(profile).step());
  if (!found) return fail(ErrorCode::not_found, "the profile is not assigned to desktop '" + desktop + "'");
  return statement.run();
}

Result<std::vector<Assignment>> StateStore::assignments() const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare(
      "SELECT desktop, profile, profile_name, until FROM assignments ORDER BY desktop, profile_name");
  std::vector<Assignment> found;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return found;
    found.push_back({statement.text(0), statement.guid(1), statement.text(2), statement.integer(3)});
  }
}

Result<bool> StateStore::is_assigned(const std::string& desktop, const repository::ProfileId& profile,
                                     std::uint64_t now) const {
  std::lock_guard guard(impl_->reader_mutex);
  auto statement = impl_->reader->prepare(
      "SELECT 1 FROM assignments WHERE desktop = ?1 AND profile = ?2 AND (until = 0 OR until > ?3) UNION ALL "
      "SELECT 1 FROM desktops d JOIN rules r ON r.pool = d.pool JOIN group_members m ON m.grp = r.grp "
      "WHERE d.name = ?1 AND d.revoked = 0 AND m.profile = ?2 AND (r.until = 0 OR r.until > ?3) LIMIT 1");
  return statement.bind(desktop).bind(profile).bind(now).step();
}

Result<std::optional<AuditHead>> StateStore::audit_head() const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare("SELECT sequence, hash FROM audit_head WHERE id = 1");
  RS_TRY(bool row, statement.step());
  if (!row) return std::optional<AuditHead>();
  return std::optional(AuditHead{statement.integer(0), statement.blob(1)});
}

Result<void> StateStore::set_audit_head(const AuditHead& head) {
  std::lock_guard guard(impl_->mutex);
  return impl_->database->prepare("INSERT OR REPLACE INTO audit_head VALUES(1, ?, ?)")
      .bind(head.sequence)
      .bind(ByteView(head.hash))
      .run();
}

}  // namespace roamstead::server
