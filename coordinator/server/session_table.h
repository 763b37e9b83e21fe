// The rules of sessions: who may open what, who may read, which batch moves the head and which becomes a
// fork. Knows nothing of connections; the desktop's name that each call is given comes from its certificate.
//
// Thread-safe; calls block on the repository and the state store. Lock order: a session's commit_mutex,
// open_mutex_, mutex_.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "common/base/fault.h"
#include "common/wire/message.h"
#include "coordinator/server/session.h"
#include "coordinator/server/session_policy.h"

namespace roamstead::server {

struct SessionOptions {
  std::chrono::seconds lease{30};
  std::chrono::milliseconds hand_over_wait{10'000};  // for a commit under way when the profile changes hands
  // Of the pool of the desktop that wants what another has open. Asked on any thread.
  std::function<SessionPolicy(const std::string& desktop)> policy_of = [](const std::string&) {
    return SessionPolicy::takeover;
  };
  std::function<Session::Clock::time_point()> now = [] { return Session::Clock::now(); };
  // The repository could not write: it may refuse to go on until it is opened again. ErrorCode::stale:
  // another coordinator has taken it over. Called on a committing thread; only to take note.
  std::function<void(const Error&)> on_storage_failure = [](const Error&) {};
};

struct SessionInfo {
  SessionRow row;
  double lease_seconds = 0;        // left; negative since it ran out
  std::uint64_t last_ordinal = 0;  // of the current incarnation
  std::uint64_t last_version = 0;
  Guid last_snapshot;
};

class SessionTable {
 public:
  // Restores the sessions that were active; each gets a whole lease, as nobody could renew while nobody
  // listened.
  static Result<std::unique_ptr<SessionTable>> create(StateStore& store, repository::Repository& repository,
                                                      SessionOptions options, Faults faults);

  Result<wire::OpenReply> open(const std::string& desktop, const wire::OpenRequest& request);
  Result<wire::DirectoryPart> list(const std::string& desktop, const wire::ListRequest& request);
  Result<Bytes> read(const std::string& desktop, const wire::ReadRequest& request);
  Result<profile::KeyStates> keys(const std::string& desktop, const wire::KeysRequest& request);
  Result<Bytes> read_value(const std::string& desktop, const wire::ValueRequest& request);
  Result<void> renew(const std::string& desktop, const Guid& secret);
  Result<void> close(const std::string& desktop, const Guid& secret);

  // Before a batch's bytes are taken: its reply when it is known to be durable already, nothing when it is
  // welcome.
  Result<std::optional<wire::CommitReply>> find_committed(const std::string& desktop,
                                                          const wire::BatchBegin& begin);
  // Durable when it returns. Moves the head, or forks where the batch is not entitled to that; never drops.
  Result<wire::CommitReply> commit(const std::string& desktop, const Guid& secret,
                                   const profile::Batch& batch, profile::ContentSource& content);

  // By public id, or the latest session of the profile of that name (active ones first).
  Result<SessionInfo> find(const std::string& session_or_profile);
  // Ends a session whose desktop is dead, and saves what was extracted of its disk as its next batch: a fork,
  // as nobody prepared that snapshot. Without records no version is made. Only the records, held-back files
  // and snapshot of the batch count.
  Result<std::optional<wire::CommitReply>> bury(const Guid& session, profile::Batch batch,
                                                profile::ContentSource& content);

  Result<std::vector<SessionInfo>> sessions(bool active_only);

 private:
  SessionTable(StateStore& store, repository::Repository& repository, SessionOptions options, Faults faults)
      : store_(store), repository_(repository), options_(std::move(options)), faults_(std::move(faults)) {}

  using Digest = Bytes;
  static Digest digest_of(const Guid& secret);
  // Whatever its state; renews the lease of an active one.
  Result<std::shared_ptr<Session>> authorise(const std::string& desktop, const Guid& secret);
  // Active ones only.
  Result<std::shared_ptr<Session>> authorise_active(const std::string& desktop, const Guid& secret);
  Result<void> check_active(const Session& session);
  Result<std::shared_ptr<Session>> remember(const SessionRow& row);
  Result<std::shared_ptr<const repository::Tree>> tree_of(Session& session);
  Result<std::shared_ptr<Session>> by_id(const Guid& id);
  std::shared_ptr<Session> holder_of(const repository::ProfileId& profile);
  SessionState state_of(const Session& session);

  Result<wire::OpenReply> open_fresh(const std::string& desktop, const wire::OpenRequest& request,
                                     const repository::ProfileInfo& profile);
  Result<wire::OpenReply> begin_session(const std::string& desktop, const wire::OpenRequest& request,
                                        const repository::ProfileInfo& profile,
                                        const std::shared_ptr<Session>& holder);
  Result<wire::OpenReply> resume(const std::string& desktop, const wire::ResumeInfo& resume);
  Result<wire::OpenReply> reply_for(Session& session, const Guid& secret);
  Result<std::uint64_t> next_epoch(const repository::ProfileId& profile);
  Result<void> end(Session& session, SessionState state);  // under its commit_mutex
  void forget_old_sessions();
  Result<wire::CommitReply> commit_locked(Session& session, const profile::Batch& batch,
                                          profile::ContentSource& content);
  Result<void> note_empty(Incarnation& incarnation, const profile::Batch& batch);
  Result<std::unique_lock<std::timed_mutex>> lock_for_hand_over(Session& session);
  SessionInfo describe(Session& session);

  StateStore& store_;
  repository::Repository& repository_;
  SessionOptions options_;
  Faults faults_;
  std::mutex open_mutex_;  // one profile is given to a new session at a time; never held while a commit is
                           // waited for
  std::mutex mutex_;       // guards the maps below and the parts of sessions that say so
  std::map<Digest, std::shared_ptr<Session>> by_digest_;
  std::map<repository::ProfileId, std::shared_ptr<Session>> holders_;  // active sessions
};

}  // namespace roamstead::server
