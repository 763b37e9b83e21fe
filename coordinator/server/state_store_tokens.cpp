// Tokens that let a desktop in, and the certificates it has one after the other.
#include <openssl/crypto.h>

#include <algorithm>

#include "coordinator/server/state_store_impl.h"

namespace roamstead::server {
namespace {

constexpr const char* kTokenColumns =
    "SELECT id, digest, pool, uses, uses_left, created, expires, created_by, revoked FROM tokens ";

Token token_in(const Statement& row) {
  return {row.text(0),    row.blob(1),    row.text(2), row.integer(3), row.integer(4),
          row.integer(5), row.integer(6), row.text(7), row.integer(8)};
}

// Found by digest, so that the time the search takes says nothing about tokens near to it; then compared in
// constant time.
Result<Token> good_token(Database& database, ByteView digest, const std::string& pool, std::uint64_t now) {
  auto statement = database.prepare((std::string(kTokenColumns) + "WHERE digest = ?").c_str());
  RS_TRY(bool row, statement.bind(digest).step());
  if (!row) return fail(ErrorCode::denied, "no such token");
  auto token = token_in(statement);
  if (token.digest.size() != digest.size() ||
      CRYPTO_memcmp(token.digest.data(), digest.data(), digest.size()) != 0)
    return fail(ErrorCode::denied, "no such token");
  auto refuse = [&](const std::string& why) {
    return fail(ErrorCode::denied, "token " + token.id + " " + why);
  };
  if (token.revoked_100ns != 0) return refuse("is revoked");
  if (now >= token.expires_100ns) return refuse("has expired");
  if (token.uses_left == 0) return refuse("is used up");
  if (!pool.empty() && pool != token.pool)
    return refuse("is for pool '" + token.pool + "', not '" + pool.substr(0, 64) + "'");
  return token;
}

}  // namespace

Result<void> note_open_until(Database& database, std::atomic<std::uint64_t>& until) {
  auto statement = database.prepare(
      "SELECT max(coalesce((SELECT max(expires) FROM tokens WHERE revoked = 0 AND uses_left > 0), 0), "
      "coalesce((SELECT max(e.until) FROM enrolments e JOIN tokens t ON t.id = e.token "
      "WHERE t.revoked = 0), 0))");
  RS_TRY(bool row, statement.step());
  until = row ? statement.integer(0) : 0;
  return {};
}

std::uint64_t StateStore::enrolment_open_until() const { return impl_->enrolment_open_until; }

Result<Token> StateStore::check_token(ByteView digest, const std::string& pool, std::uint64_t now) const {
  std::lock_guard guard(impl_->mutex);
  return good_token(*impl_->database, digest, pool, now);
}

Result<std::optional<std::string>> StateStore::find_enrolment(ByteView digest, const std::string& name,
                                                              ByteView request, std::uint64_t now) const {
  std::lock_guard guard(impl_->mutex);
  auto statement = impl_->database->prepare(
      "SELECT e.serial FROM enrolments e JOIN tokens t ON t.id = e.token JOIN desktops d ON d.serial = "
      "e.serial "
      "WHERE t.digest = ? AND e.name = ? AND e.request = ? AND e.until > ? AND t.revoked = 0 AND d.revoked = "
      "0");
  RS_TRY(bool row, statement.bind(digest).bind(name).bind(request).bind(now).step());
  return row ? std::optional(statement.text(0)) : std::nullopt;
}

Result<Token> StateStore::enroll_by_token(ByteView digest, const std::string& pool, const Desktop& desktop,
                                          ByteView request, std::uint64_t expires, std::uint64_t now) {
  std::lock_guard guard(impl_->mutex);
  auto& database = *impl_->database;
  RS_TRY(auto transaction, Transaction::begin(database));
  RS_TRY(auto token, good_token(database, digest, pool, now));
  auto enrolled = desktop;
  enrolled.pool = token.pool;
  RS_CHECK(insert_desktop(database, enrolled, expires));
  RS_CHECK(database.prepare("UPDATE tokens SET uses_left = uses_left - 1 WHERE id = ?").bind(token.id).run());
  constexpr auto kRepeated = std::uint64_t{std::chrono::seconds(kEnrolmentRepeated).count()} * 10'000'000;
  RS_CHECK(database.prepare("INSERT OR REPLACE INTO enrolments VALUES(?, ?, ?, ?, ?, ?)")
               .bind(token.id)
               .bind(enrolled.name)
               .bind(request)
               .bind(enrolled.serial)
               .bind(now)
               .bind(std::min(token.expires_100ns, now + kRepeated))
               .run());
  RS_CHECK(transaction.commit());
  --token.uses_left;
  RS_CHECK(note_open_until(database, impl_->enrolment_open_until));
  return token;
}

Result<void> StateStore::add_token(const Token& token) {
  std::lock_guard guard(impl_->mutex);
  auto& database = *impl_->database;
  auto statement = database.prepare("SELECT 1 FROM pools WHERE name = ?");
  RS_TRY(bool pool, statement.bind(token.pool).step());
  if (!pool) return fail(ErrorCode::not_found, "no pool '" + token.pool + "'");
  RS_CHECK(database.prepare("INSERT INTO tokens VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)")
               .bind(token.id)
               .bind(ByteView(token.digest))
               .bind(token.pool)
               .bind(token.uses)
               .bind(token.uses_left)
               .bind(token.created_100ns)
               .bind(token.expires_100ns)
               .bind(token.created_by)
               .bind(token.revoked_100ns)
               .run());
  return note_open_until(database, impl_->enrolment_open_until);
}

Result<void> StateStore::revoke_token(const std::string& id, std::uint64_t now) {
  std::lock_guard guard(impl_->mutex);
  auto statement =
      impl_->database->prepare("UPDATE tokens SET revoked = ? WHERE id = ? AND revoked = 0 RETURNING id");
  RS_TRY(bool found, statement.bind(now).bind(id).step());
  if (!found) return fail(ErrorCode::not_found, "no token '" + id + "' that is not revoked");
  RS_CHECK(statement.run());
  return note_open_until(*impl_->database, impl_->enrolment_open_until);
}

Result<std::vector<Token>> StateStore::tokens() const {
  std::lock_guard guard(impl_->mutex);
  auto statement =
      impl_->database->prepare((std::string(kTokenColumns) + "ORDER BY created DESC, id").c_str());
  std::vector<Token> found;
  for (;;) {
    RS_TRY(bool row, statement.step());
    if (!row) return found;
    found.push_back(token_in(statement));
  }
}

Result<void> StateStore::add_certificate(const std::string& desktop, const std::string& old_serial,
                                         const Certificate& certificate) {
  std::lock_guard guard(impl_->mutex);
  auto& database = *impl_->database;
  RS_TRY(auto transaction, Transaction::begin(database));
  auto statement = database.prepare(
      "SELECT d.serial FROM certificates c JOIN desktops d ON d.serial = c.enrolment WHERE c.serial = ? AND "
      "d.name = ? AND d.revoked = 0");
  RS_TRY(bool row, statement.bind(old_serial).bind(desktop).step());
  if (!row) return fail(ErrorCode::denied, "the certificate of desktop '" + desktop + "' is revoked");
  auto enrolment = statement.text(0);
  RS_CHECK(database.prepare("INSERT INTO certificates VALUES(?, ?, ?, ?)")
               .bind(certificate.serial)
               .bind(enrolment)
               .bind(certificate.issued_100ns)
               .bind(certificate.expires_100ns)
               .run());
  // Neither the first nor the one it came with.
  RS_CHECK(database
               .prepare("DELETE FROM certificates WHERE enrolment = ?1 AND serial != ?1 AND serial != ?2 AND "
                        "serial NOT IN (SELECT serial FROM certificates WHERE enrolment = ?1 ORDER BY issued "
                        "DESC, rowid DESC LIMIT ?3)")
               .bind(enrolment)
               .bind(old_serial)
               .bind(std::uint64_t{kMaxCertificates})
               .run());
  return transaction.commit();
}

}  // namespace roamstead::server
