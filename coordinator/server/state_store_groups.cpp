// Groups of profiles, and the rules that let a pool's desktops open a group's.
#include "coordinator/server/state_store_impl.h"

namespace roamstead::server {
namespace {

Result<void> need_group(Database& database, const std::string& name) {
  auto statement = database.prepare("SELECT 1 FROM groups WHERE name = ?");
  RS_TRY(bool row, statement.bind(name).step());
  if (!row) return fail(ErrorCode::not_found, "no group '" + name + "'");
  return {};
}

Result<void> need_pool(Database& database, const std::string& name) {
  auto statement = database.prepare("SELECT 1 FROM pools WHERE name = ?");
  RS_TRY(bool row, statement.bind(name).step());
  if (!row) return fail(ErrorCode::not_found, "no pool '" + name + "'");
  return {};
}

}  // namespace

Result<void> StateStore::add_group(const std::string& name) {
  std::lock_guard guard(impl_->mutex);
  auto added = impl_->database->prepare("INSERT INTO groups VALUES(?)").bind(name).run();
  if (!added && added.error().code == ErrorCode::exists)
    return fail(ErrorCode::exists, "group '" + name + "' is there already");
  return added;
}

Result<void> StateStore::remove_group(const std::string& name) {
  std::lock_guard guard(impl_->mutex);
  RS_TRY(auto transaction, Transaction::begin(*impl_->database));
  RS_CHECK(need_group(*impl_->database, name));
  for (const char* sql : {"DELETE FROM rules WHERE grp = ?", "DELETE FROM group_members WHERE grp = ?",
                          "DELETE FROM groups WHERE name = ?"})
    RS_CHECK(impl_->database->prepare(sql).bind(name).run());
  return transaction.commit();
}

Result<void> StateStore::add_member(const GroupMember& member) {
  std::lock_guard guard(impl_->mutex);
  RS_CHECK(need_group(*impl_->database, member.group));
  return impl_->database->prepare("INSERT OR REPLACE INTO group_members VALUES(?, ?, ?)")
      .bind(member.group)
      .bind(member.profile)
      .bind(member.profile_name)
      .run();
}

Result<void> StateStore::remove_member(const std::string& group, const repository::ProfileId& profile) {
  std::lock_guard guard(impl_->mutex);
  auto statement =
      impl_->database->prepare("DELETE FROM group_members WHERE grp = ? AND profile = ? RETURNING grp");
  RS_TRY(bool found, statement.bind(group).bind(profile).step());
  if (!found) return fail(ErrorCode::not_found, "the profile is not in group '" + group + "'");
  return statement.run();
}

Result<std::vector<std::string>> StateStore::groups() const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare("SELECT name FROM groups ORDER BY name");
  std::vector<std::string> found;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return found;
    found.push_back(statement.text(0));
  }
}

Result<std::vector<GroupMember>> StateStore::members() const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare(
      "SELECT grp, profile, profile_name FROM group_members ORDER BY grp, profile_name");
  std::vector<GroupMember> found;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return found;
    found.push_back({statement.text(0), statement.guid(1), statement.text(2)});
  }
}

Result<void> StateStore::add_rule(const Rule& rule) {
  std::lock_guard guard(impl_->mutex);
  RS_CHECK(need_pool(*impl_->database, rule.pool));
  RS_CHECK(need_group(*impl_->database, rule.group));
  return impl_->database->prepare("INSERT OR REPLACE INTO rules VALUES(?, ?, ?)")
      .bind(rule.pool)
      .bind(rule.group)
      .bind(rule.until_100ns)
      .run();
}

Result<void> StateStore::remove_rule(const std::string& pool, const std::string& group) {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare("DELETE FROM rules WHERE pool = ? AND grp = ? RETURNING grp");
  RS_TRY(bool found, statement.bind(pool).bind(group).step());
  if (!found)
    return fail(ErrorCode::not_found, "no rule lets pool '" + pool + "' open group '" + group + "'");
  return statement.run();
}

Result<std::vector<Rule>> StateStore::rules() const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare("SELECT pool, grp, until FROM rules ORDER BY pool, grp");
  std::vector<Rule> found;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return found;
    found.push_back({statement.text(0), statement.text(1), statement.integer(2)});
  }
}

}  // namespace roamstead::server
