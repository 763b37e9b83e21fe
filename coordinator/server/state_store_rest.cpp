// What administrators who come over TLS need: their certificates, answers that may be asked for again, and
// operations.
#include "coordinator/server/state_store_impl.h"

namespace roamstead::server {
namespace {

constexpr const char* kAdministratorColumns =
    "SELECT name, serial, role, issued, expires, revoked, issued_by FROM administrators ";

Administrator administrator_in(const Statement& row) {
  return {row.text(0), row.text(1), row.text(2), row.integer(3), row.integer(4), row.integer(5), row.text(6)};
}

}  // namespace

Result<void> StateStore::add_administrator(const Administrator& administrator) {
  std::lock_guard guard(impl_->mutex);
  RS_TRY(auto transaction, Transaction::begin(*impl_->database));
  {
    auto count = impl_->database->prepare(
        "SELECT count(*) FROM administrators WHERE name = ? AND revoked = 0 AND expires > ?");
    RS_TRY(bool row, count.bind(administrator.name).bind(administrator.issued_100ns).step());
    if (row && count.integer(0) >= kMaxCertificates)
      return fail(ErrorCode::exists, "administrator '" + administrator.name + "' has " +
                                         std::to_string(kMaxCertificates) +
                                         " good certificates already; revoke one");
  }
  RS_CHECK(impl_->database->prepare("INSERT INTO administrators VALUES(?, ?, ?, ?, ?, 0, ?)")
               .bind(administrator.serial)
               .bind(administrator.name)
               .bind(administrator.role)
               .bind(administrator.issued_100ns)
               .bind(administrator.expires_100ns)
               .bind(administrator.issued_by)
               .run());
  return transaction.commit();
}

Result<void> StateStore::revoke_administrator(const std::string& name, const std::string& serial,
                                              std::uint64_t now) {
  std::lock_guard guard(impl_->mutex);
  RS_TRY(auto transaction, Transaction::begin(*impl_->database));
  {
    auto found = impl_->database->prepare(
        "SELECT 1 FROM administrators WHERE name = ?1 AND (?2 = '' OR serial = ?2) AND revoked = 0");
    RS_TRY(bool row, found.bind(name).bind(serial).step());
    if (!row)
      return fail(ErrorCode::not_found,
                  "administrator '" + name + "' has no such certificate that is not revoked");
  }
  RS_CHECK(impl_->database
               ->prepare("UPDATE administrators SET revoked = ?3 WHERE name = ?1 AND (?2 = '' OR serial = "
                         "?2) AND revoked = 0")
               .bind(name)
               .bind(serial)
               .bind(now)
               .run());
  return transaction.commit();
}

Result<std::vector<Administrator>> StateStore::administrators() const {
  std::lock_guard guard(impl_->reader_mutex);
  auto statement =
      impl_->reader->prepare((std::string(kAdministratorColumns) + "ORDER BY issued DESC, serial").c_str());
  std::vector<Administrator> all;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return all;
    all.push_back(administrator_in(statement));
  }
}

Result<Administrator> StateStore::check_administrator(const std::string& name, const std::string& serial,
                                                      std::uint64_t now) const {
  std::lock_guard guard(impl_->reader_mutex);
  auto statement =
      impl_->reader->prepare((std::string(kAdministratorColumns) + "WHERE serial = ? AND name = ?").c_str());
  RS_TRY(bool row, statement.bind(serial).bind(name).step());
  if (!row)
    return fail(ErrorCode::denied,
                "certificate " + serial + " of '" + name + "' is not known as an administrator's");
  auto administrator = administrator_in(statement);
  if (administrator.revoked_100ns != 0)
    return fail(ErrorCode::denied, "certificate " + serial + " of administrator '" + name + "' is revoked");
  if (now >= administrator.expires_100ns)
    return fail(ErrorCode::denied, "certificate " + serial + " of administrator '" + name + "' has expired");
  return administrator;
}

Result<std::optional<KeptAnswer>> StateStore::begin_answer(ByteView key, ByteView request, std::uint64_t now,
                                                           std::uint64_t oldest) {
  std::lock_guard guard(impl_->mutex);
  RS_TRY(auto transaction, Transaction::begin(*impl_->database));
  RS_CHECK(impl_->database
               ->prepare("DELETE FROM answers WHERE began < ?1 OR key IN (SELECT key FROM answers ORDER BY "
                         "began DESC LIMIT -1 OFFSET ?2)")
               .bind(oldest)
               .bind(std::uint64_t{kMaxAnswers - 1})
               .run());
  {
    auto known = impl_->database->prepare("SELECT request, answer FROM answers WHERE key = ?");
    RS_TRY(bool row, known.bind(key).step());
    if (row) return std::optional<KeptAnswer>({known.blob(0), known.blob(1)});
  }
  RS_CHECK(impl_->database->prepare("INSERT INTO answers VALUES(?, ?, ?, x'')")
               .bind(key)
               .bind(request)
               .bind(now)
               .run());
  RS_CHECK(transaction.commit());
  return std::optional<KeptAnswer>();
}

Result<void> StateStore::keep_answer(ByteView key, ByteView answer) {
  std::lock_guard guard(impl_->mutex);
  return impl_->database->prepare("UPDATE answers SET answer = ?2 WHERE key = ?1")
      .bind(key)
      .bind(answer)
      .run();
}

Result<void> StateStore::forget_answer(ByteView key) {
  std::lock_guard guard(impl_->mutex);
  return impl_->database->prepare("DELETE FROM answers WHERE key = ?").bind(key).run();
}

Result<void> StateStore::set_operation(const std::string& id, std::uint64_t created,
                                       const std::string& text) {
  std::lock_guard guard(impl_->mutex);
  RS_TRY(auto transaction, Transaction::begin(*impl_->database));
  RS_CHECK(impl_->database->prepare("INSERT OR REPLACE INTO operations VALUES(?, ?, ?)")
               .bind(id)
               .bind(created)
               .bind(text)
               .run());
  RS_CHECK(impl_->database
               ->prepare("DELETE FROM operations WHERE id IN (SELECT id FROM operations ORDER BY created "
                         "DESC, rowid DESC LIMIT -1 OFFSET ?)")
               .bind(std::uint64_t{kMaxOperations})
               .run());
  return transaction.commit();
}

Result<std::vector<std::string>> StateStore::operations() const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare("SELECT text FROM operations ORDER BY created DESC, rowid DESC");
  std::vector<std::string> all;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return all;
    all.push_back(statement.text(0));
  }
}

}  // namespace roamstead::server
