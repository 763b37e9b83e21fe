// What the coordinator itself must remember: desktops, assignments, sessions, epochs. SQLite in
// `<state>/state.db`, apart from the catalog, which can be rebuilt; this cannot. How far a session has
// committed is not noted here but taken from the repository's versions, so the two cannot disagree; only
// batches that made no version are noted.
//
// Thread-safe; each call is one transaction, durable when it returns.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/guid.h"
#include "coordinator/repository/repository.h"

struct sqlite3;

namespace roamstead::server {

struct Desktop {
  std::string name;
  std::string serial;  // of its certificate, lower-case hexadecimal
  std::uint64_t enrolled_100ns = 0;
  std::uint64_t revoked_100ns = 0;  // 0: not revoked
};

struct Assignment {
  std::string desktop;
  repository::ProfileId profile;
  std::string profile_name;
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

  // ErrorCode::exists when a desktop of that name is enrolled and not revoked.
  Result<void> add_desktop(const Desktop& desktop);
  // ErrorCode::not_found when there is none that is not revoked.
  Result<void> revoke_desktop(const std::string& name, std::uint64_t now_100ns);
  Result<std::vector<Desktop>> desktops() const;
  // ErrorCode::denied unless `name` is enrolled with this certificate, and neither is revoked.
  Result<void> check_desktop(const std::string& name, const std::string& serial) const;

  Result<void> assign(const Assignment& assignment);  // again: nothing changes
  Result<void> unassign(const std::string& desktop, const repository::ProfileId& profile);  // not_found
  Result<std::vector<Assignment>> assignments() const;
  Result<bool> is_assigned(const std::string& desktop, const repository::ProfileId& profile) const;

  Result<std::uint64_t> epoch(const repository::ProfileId& profile) const;  // 0: never opened
  // A hand-over in one transaction: `ended` (if any) is superseded, the profile's epoch becomes
  // session.epoch, and the session begins with its first incarnation.
  Result<void> begin_session(const SessionRow& session, const IncarnationRow& first,
                             const std::optional<Guid>& ended);
  Result<void> end_session(const Guid& id, SessionState state, std::uint64_t now_100ns);
  Result<void> add_incarnation(const Guid& session, const IncarnationRow& row);
  Result<void> note_ordinal(const IncarnationRow& row);
  Result<std::vector<SessionRow>> sessions(bool active_only) const;
  Result<std::optional<SessionRow>> find_session(const Guid& id) const;
  Result<std::optional<SessionRow>> find_session_by_digest(ByteView digest) const;
  Result<std::vector<IncarnationRow>> incarnations(const Guid& session) const;  // by sequence

 private:
  class Impl;
  explicit StateStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::server
