// What the coordinator itself must remember: desktops, assignments, sessions, epochs. SQLite in
// `<state>/state.db`, apart from the catalog, which can be rebuilt; this cannot. How far a session has
// committed is not noted here but taken from the repository's versions, so the two cannot disagree; only
// batches that made no version are noted.
//
// Thread-safe; each call is one transaction, durable when it returns.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/guid.h"
#include "coordinator/repository/repository.h"

struct sqlite3;

namespace roamstead::server {

inline constexpr const char* kDefaultPool = "default";  // always there

// Desktops that are treated alike.
struct Pool {
  std::string name;
  std::string session_policy = "takeover";  // a SessionPolicy, as text
  std::uint64_t quota_bytes = 0;            // of each profile that its desktops save to; 0: none
  std::uint64_t created_100ns = 0;
};

struct Desktop {
  std::string name;
  std::string serial;  // of its first certificate, lower-case hexadecimal
  std::uint64_t enrolled_100ns = 0;
  std::uint64_t revoked_100ns = 0;  // 0: not revoked
  std::string pool = kDefaultPool;
  std::string disk = {};        // on this host, its top layer: for when the desktop is dead; "": not known
  std::uint32_t partition = 0;  // of it; 0: the one that holds NTFS
};

struct Assignment {
  std::string desktop;
  repository::ProfileId profile;
  std::string profile_name;
  std::uint64_t until_100ns = 0;  // 0: without end
};

// A certificate of an enrolled desktop, which may have several while it changes from one to the next.
struct Certificate {
  std::string serial;
  std::string enrolment;  // the desktop's first serial
  std::uint64_t issued_100ns = 0;
  std::uint64_t expires_100ns = 0;
};

// Entitles to an enrolment. The token itself is not kept.
struct Token {
  std::string id;  // public, to name it by
  Bytes digest;    // SHA-256
  std::string pool;
  std::uint64_t uses = 1;
  std::uint64_t uses_left = 1;
  std::uint64_t created_100ns = 0;
  std::uint64_t expires_100ns = 0;
  std::string created_by;
  std::uint64_t revoked_100ns = 0;  // 0: not revoked
};

// The certificate of an administrator who comes in over TLS. What it may do is noted here and not in the
// certificate, so that a revocation holds from the next request on.
struct Administrator {
  std::string name;
  std::string serial;
  std::string role;  // a Role, as text
  std::uint64_t issued_100ns = 0;
  std::uint64_t expires_100ns = 0;
  std::uint64_t revoked_100ns = 0;  // 0: not revoked
  std::string issued_by;
};

// What was answered to a request that may come again, kept for a time (coordinator/rest/idempotency.h).
struct KeptAnswer {
  Bytes request;  // a digest of what was asked
  Bytes answer;   // empty: whether it was done is not known
};

// A named list of profiles, and the rule that a pool's desktops may open them.
struct GroupMember {
  std::string group;
  repository::ProfileId profile;
  std::string profile_name;
};
struct Rule {
  std::string pool;
  std::string group;
  std::uint64_t until_100ns = 0;  // 0: without end
};

// The last record of the audit log that is known to be durable (coordinator/audit/audit_log.h).
struct AuditHead {
  std::uint64_t sequence = 0;
  Bytes hash;
};

enum class SessionState : std::uint8_t {
  active = 0,
  closed = 1,  // by the desktop
  superseded =
      2,  // the profile was handed over, or the desktop was declared dead, or it came back from the past
};

enum class SessionMode : std::uint8_t {
  exclusive = 0,   // the only one that may move the head
  reader = 1,      // what it saves becomes a fork
  concurrent = 2,  // one of several that may move the head
};

struct SessionRow {
  Guid id;
  Bytes secret_digest;  // SHA-256 of the secret; the secret itself is not kept
  std::string desktop;
  repository::ProfileId profile;
  std::string profile_name;
  std::string profile_root;
  std::uint64_t epoch = 0;
  std::uint64_t version = 0;  // pinned
  SessionState state = SessionState::active;
  std::uint64_t opened_100ns = 0;
  std::uint64_t ended_100ns = 0;
  SessionMode mode = SessionMode::exclusive;
};

struct IncarnationRow {
  Guid incarnation;
  // Within the session, from 1; the highest is the current one. 0: not given out by the coordinator.
  std::uint64_t sequence = 0;
  std::uint64_t base_version = 0;   // what its first batch is applied to
  std::uint64_t noted_ordinal = 0;  // of the last batch that made no version
  Guid noted_snapshot;              // the layer that batch was cut from
};

class StateStore {
 public:
  // Made when missing. `directory` must exist.
  static Result<std::unique_ptr<StateStore>> open(const std::string& directory);
  ~StateStore();

  // ErrorCode::exists, not_found when it is to be changed and is not there.
  Result<void> add_pool(const Pool& pool);
  Result<void> set_pool(const Pool& pool);
  Result<std::vector<Pool>> pools() const;                 // by name
  Result<Pool> pool(const std::string& name) const;        // ErrorCode::not_found
  Result<Pool> pool_of(const std::string& desktop) const;  // the default one for who is not enrolled
  // ErrorCode::not_found when there is no such desktop or pool.
  Result<void> set_pool_of(const std::string& desktop, const std::string& pool);

  // ErrorCode::exists when a desktop of that name is enrolled and not revoked, not_found without its pool.
  Result<void> add_desktop(const Desktop& desktop);
  // ErrorCode::not_found when there is none that is not revoked.
  // Whether one of that name is enrolled and not revoked.
  Result<bool> is_enrolled(const std::string& name) const;
  Result<void> revoke_desktop(const std::string& name, std::uint64_t now_100ns);
  Result<std::vector<Desktop>> desktops() const;
  // A renewal. The oldest ones beyond kMaxCertificates of an enrolment are forgotten, the first one never: a
  // desktop that is set back to its beginning at every log-off comes back with that. ErrorCode::denied when
  // the certificate that it renews is not good any more.
  static constexpr std::size_t kMaxCertificates = 8;
  Result<void> add_certificate(const std::string& desktop, const std::string& old_serial,
                               const Certificate& certificate);

  // An enrolment by token, in one transaction: one use less, and the desktop is in. ErrorCode::denied, with
  // the reason for the log, when the token is not good; exists as add_desktop says. `pool` "": the token's.
  // `request`: SHA-256 of what asked for it, by which it is recognised when it comes again.
  Result<Token> enroll_by_token(ByteView digest, const std::string& pool, const Desktop& desktop,
                                ByteView request, std::uint64_t expires_100ns, std::uint64_t now_100ns);
  // The serial of an enrolment that the very same request got by this token not long ago, its answer having
  // been lost; none: there was none, the token is revoked or has expired, or the desktop is revoked.
  static constexpr std::chrono::minutes kEnrolmentRepeated{10};
  Result<std::optional<std::string>> find_enrolment(ByteView digest, const std::string& name,
                                                    ByteView request, std::uint64_t now_100ns) const;
  // Whether it would work, for who needs to know before making a certificate.
  Result<Token> check_token(ByteView digest, const std::string& pool, std::uint64_t now_100ns) const;
  Result<void> add_token(const Token& token);  // ErrorCode::not_found without its pool
  Result<void> revoke_token(const std::string& id, std::uint64_t now_100ns);  // not_found
  Result<std::vector<Token>> tokens() const;                                  // newest first
  // Until when some token may be used; 0: there is none. From any thread, without waiting.
  std::uint64_t enrolment_open_until() const;

  // ErrorCode::denied unless `name` is enrolled with this certificate, and neither is revoked.
  Result<void> check_desktop(const std::string& name, const std::string& serial) const;

  Result<void> assign(const Assignment& assignment);  // again: nothing changes
  Result<void> unassign(const std::string& desktop, const repository::ProfileId& profile);  // not_found
  Result<std::vector<Assignment>> assignments() const;
  // By an assignment or a rule that has not ended.
  Result<bool> is_assigned(const std::string& desktop, const repository::ProfileId& profile,
                           std::uint64_t now_100ns) const;

  Result<void> add_group(const std::string& name);     // exists
  Result<void> remove_group(const std::string& name);  // with its rules; not_found
  Result<void> add_member(const GroupMember& member);  // again: nothing changes
  Result<void> remove_member(const std::string& group, const repository::ProfileId& profile);  // not_found
  Result<std::vector<std::string>> groups() const;
  Result<std::vector<GroupMember>> members() const;                             // by group, name
  Result<void> add_rule(const Rule& rule);                                      // again: with the new end
  Result<void> remove_rule(const std::string& pool, const std::string& group);  // not_found
  Result<std::vector<Rule>> rules() const;

  // ErrorCode::not_found when no desktop of that name is enrolled.
  Result<void> set_disk_of(const std::string& desktop, const std::string& disk, std::uint32_t partition);

  // A profile's own quota, which comes before its pools'. In it 0 stands for no limit.
  Result<void> set_quota(const repository::ProfileId& profile, std::optional<std::uint64_t> quota_bytes);
  Result<std::optional<std::uint64_t>> quota(const repository::ProfileId& profile) const;

  // Rules of what roams (coordinator/config/rules_file.h), a pool's and a profile's own; "": none.
  Result<void> set_pool_rules(const std::string& pool, const std::string& text);  // not_found: no such pool
  Result<std::string> pool_rules(const std::string& pool) const;
  Result<void> set_profile_rules(const repository::ProfileId& profile, const std::string& text);
  Result<std::string> profile_rules(const repository::ProfileId& profile) const;
  // What a pool's agents are set to (coordinator/config/agent_settings_file.h); "": nothing.
  Result<void> set_pool_agent_settings(const std::string& pool, const std::string& text);  // not_found
  Result<std::string> pool_agent_settings(const std::string& pool) const;

  Result<std::uint64_t> epoch(const repository::ProfileId& profile) const;  // 0: never opened
  // A hand-over in one transaction: `ended` (if any) is superseded, the profile's epoch becomes
  // session.epoch, and the session begins with its first incarnation.
  Result<void> begin_session(const SessionRow& session, const IncarnationRow& first,
                             const std::optional<Guid>& ended);
  Result<void> end_session(const Guid& id, SessionState state, std::uint64_t now_100ns);
  Result<void> add_incarnation(const Guid& session, const IncarnationRow& row);
  Result<void> note_ordinal(const IncarnationRow& row);
  // Forgets what nobody can need any more: ended sessions (whose desktops can then deliver nothing late:
  // their disks must be extracted), expired tokens and certificates. Some hundred rows at a time; how many
  // went.
  Result<std::uint64_t> prune(std::uint64_t now_100ns);
  static constexpr std::chrono::hours kKeptSessions{180 * 24}, kKeptTokens{30 * 24},
      kKeptCertificates{30 * 24};
  Result<std::vector<SessionRow>> sessions(bool active_only) const;
  Result<std::optional<SessionRow>> find_session(const Guid& id) const;
  Result<std::optional<SessionRow>> find_session_by_digest(ByteView digest) const;
  Result<std::vector<IncarnationRow>> incarnations(const Guid& session) const;  // by sequence

  // A certificate more; ErrorCode::exists when the name has kMaxCertificates that are good.
  Result<void> add_administrator(const Administrator& administrator);
  // All certificates of the name, or the one with the serial. ErrorCode::not_found when none is good.
  Result<void> revoke_administrator(const std::string& name, const std::string& serial,
                                    std::uint64_t now_100ns);
  Result<std::vector<Administrator>> administrators() const;  // newest first
  // ErrorCode::denied, with the reason for the log, unless the certificate is known under that name, not
  // revoked and not expired.
  Result<Administrator> check_administrator(const std::string& name, const std::string& serial,
                                            std::uint64_t now_100ns) const;

  // Notes that a request is begun, unless one of that key is known: that one is returned then. What began
  // before `oldest_100ns`, and what is beyond kMaxAnswers, is forgotten.
  static constexpr std::size_t kMaxAnswers = 100'000;
  Result<std::optional<KeptAnswer>> begin_answer(ByteView key, ByteView request, std::uint64_t now_100ns,
                                                 std::uint64_t oldest_100ns);
  Result<void> keep_answer(ByteView key, ByteView answer);
  Result<void> forget_answer(ByteView key);

  // Operations as text, kept over restarts; the oldest beyond kMaxOperations are forgotten.
  static constexpr std::size_t kMaxOperations = 1'000;
  Result<void> set_operation(const std::string& id, std::uint64_t created_100ns, const std::string& text);
  Result<std::vector<std::string>> operations() const;  // newest first

  Result<std::optional<AuditHead>> audit_head() const;
  Result<void> set_audit_head(const AuditHead& head);

 private:
  class Impl;
  explicit StateStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::server
