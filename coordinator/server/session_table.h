// The rules of sessions: who may open what, who may read, which batch moves the head and which becomes a
// fork. Knows nothing of connections; the desktop's name that each call is given comes from its certificate.
//
// Thread-safe; calls block on the repository and the state store. Lock order: a session's commit_mutex,
// a saving mutex, an open mutex, mutex_, port_mutex_.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "common/base/fault.h"
#include "common/profile/prewarm.h"
#include "common/wire/message.h"
#include "coordinator/server/desktop_port.h"
#include "coordinator/server/opening_gate.h"
#include "coordinator/server/session.h"
#include "coordinator/server/session_policy.h"
#include "coordinator/server/working_set_store.h"

namespace roamstead::audit {
class AuditLog;
}

namespace roamstead::server {

struct SessionOptions {
  std::chrono::seconds lease{30};
  // How long who wants a profile waits for the desktop that has it to send its changes, and then once more
  // for a batch that is just being committed.
  std::chrono::milliseconds hand_over_wait{10'000};
  std::string working_set_directory;  // empty: log-ins are not sent ahead what former ones touched
  // Of the pool of the desktop that wants what another has open. Asked on any thread.
  // Empty: takeover (the coordinator sets it by the desktop's pool).
  std::function<SessionPolicy(const std::string& desktop)> policy_of = {};
  std::function<Session::Clock::time_point()> now = [] { return Session::Clock::now(); };
  // How much a profile may hold that the desktop saves to; 0: anything. Asked on any thread. Empty: anything.
  std::function<std::uint64_t(const std::string& desktop, const repository::ProfileId&)> quota_of = {};
  // What roams of it on that desktop, in canonical form. An error refuses the log-in. Empty: everything.
  std::function<Result<std::string>(const std::string& desktop, const repository::ProfileId&)> rules_of = {};
  // The repository could not write: it may refuse to go on until it is opened again. ErrorCode::stale:
  // another coordinator has taken it over. Called on a committing thread; only to take note.
  std::function<void(const Error&)> on_storage_failure = [](const Error&) {};
  audit::AuditLog* audit = nullptr;  // openings and refusals are recorded there; null: nowhere (tests)
};

struct SessionInfo {
  SessionRow row;
  double lease_seconds = 0;        // left; negative since it ran out
  std::uint64_t last_ordinal = 0;  // of the current incarnation
  std::uint64_t last_version = 0;
  Guid last_snapshot;
  bool connected = false;  // its desktop is
  bool vanished = false;   // no connection, and the lease has run out
  wire::SessionUse use = wire::SessionUse::in_use;
  std::string wanted_by;            // the desktop it was asked to hand over to; empty: none
  std::uint64_t quota_bytes = 0;    // that holds for it; 0: none
  std::uint64_t refused_bytes = 0;  // by which its next batch would make the profile larger than that
};

// One wish to open a profile, from the first time it is asked to its answer.
struct OpenAttempt {
  // Since when a batch under way keeps the profile from changing hands.
  std::optional<Session::Clock::time_point> blocked_since;
};

struct OpenStep {
  std::optional<wire::OpenReply> reply;
  std::chrono::milliseconds ask_again{0};  // at the latest, when there is no reply yet
};

class SessionTable {
 public:
  // Restores the sessions that were active; each gets a whole lease, as nobody could renew while nobody
  // listened.
  static Result<std::unique_ptr<SessionTable>> create(StateStore& store, repository::Repository& repository,
                                                      SessionOptions options, Faults faults);

  // Waits for the desktop that has the profile, where the policy says so.
  Result<wire::OpenReply> open(const std::string& desktop, const wire::OpenRequest& request);
  // The same without waiting, to be called until there is a reply or an error. `wake` is called, on any
  // thread, as soon as asking again is worthwhile.
  Result<OpenStep> try_open(const std::string& desktop, const wire::OpenRequest& request,
                            OpenAttempt& attempt, const std::function<void()>& wake);
  Result<wire::DirectoryPart> list(const std::string& desktop, const wire::ListRequest& request);
  Result<Bytes> read(const std::string& desktop, const wire::ReadRequest& request);
  // As many of the items as fit one answer.
  Result<wire::FetchReply> fetch(const std::string& desktop, const wire::FetchRequest& request);
  Result<profile::KeyStates> keys(const std::string& desktop, const wire::KeysRequest& request);
  Result<Bytes> read_value(const std::string& desktop, const wire::ValueRequest& request);
  Result<void> renew(const std::string& desktop, const Guid& secret);
  Result<void> note_use(const std::string& desktop, const wire::UseRequest& request);
  Result<void> close(const std::string& desktop, const Guid& secret);
  // The desktop has sent what it had: superseded, and who waits for the profile goes on.
  Result<void> hand_over(const std::string& desktop, const Guid& secret);

  // What the session touched first.
  Result<void> learned(const std::string& desktop, const wire::LearnedRequest& request);

  // Null: desktops cannot be reached. Once this returns the port before is used no more.
  void set_port(DesktopPort* port);
  // A desktop has a new connection: says again what it may have missed.
  void note_connection(const std::string& desktop);
  // Logs sessions whose desktops were not heard of for their lease and have no connection. Every few seconds.
  void look_for_vanished();
  // Asks a session's desktop to log out, within the time. ErrorCode::not_found, or unavailable while the
  // desktop has no connection.
  Result<void> ask_to_close(const std::string& session_or_profile, std::chrono::milliseconds within,
                            const std::string& why);
  // Tells a desktop that a profile will be opened on it, or that its pool's rules changed; lost while it has
  // no connection.
  void announce(const std::string& desktop, const std::string& profile);
  void announce_policy(const std::string& desktop);
  // Likewise, what its agent is to be set to now.
  void announce_settings(const std::string& desktop, const settings::SentSettings& settings);
  bool is_connected(const std::string& desktop);

  // Before a batch's bytes are taken: its reply when it is known to be durable already, nothing when it is
  // welcome.
  Result<std::optional<wire::CommitReply>> find_committed(const std::string& desktop,
                                                          const wire::BatchBegin& begin);
  // Durable when it returns. Moves the head, or forks where the batch is not entitled to that; never drops.
  // ErrorCode::full with Event::over_quota when it would make the profile exceed its quota; `announced` is
  // then refused by find_committed, before its bytes are taken, until it fits.
  Result<wire::CommitReply> commit(const std::string& desktop, const Guid& secret,
                                   const profile::Batch& batch, profile::ContentSource& content,
                                   const wire::BatchBegin* announced = nullptr);

  // Saving from snapshots that the host makes of a desktop's disk (host_snapshots.h).
  struct HostSession {
    SessionRow row;
    bool current = false;            // the incarnation is the last of an active session
    std::uint64_t last_ordinal = 0;  // of the incarnation
    Guid last_cut;                   // its last batch's layer; zero: none
  };
  // For the session's own desktop; renews its lease. ErrorCode::busy while a batch is committed.
  Result<HostSession> host_session(const std::string& desktop, const Guid& secret, const Guid& incarnation);
  // As commit(), of a batch that was extracted here. ErrorCode::stale, and nothing is kept, when the session
  // is active and was resumed since: then the next batch holds it too.
  // `below`: the layer that it was compared with. Where that is not the layer of the batch before, the
  // machine was set back: then it becomes a fork of what the session was by then.
  Result<wire::CommitReply> commit_from_host(const Guid& session, const Guid& below, profile::Batch batch,
                                             profile::ContentSource& content);
  // The layers that the desktop's active sessions were saved from last.
  std::set<Guid> last_snapshots(const std::string& desktop);
  // What a durable ordinal of the incarnation became.
  Result<wire::CommitReply> committed(const Guid& session, const Guid& incarnation, std::uint64_t ordinal);
  // Lost while the desktop has no connection.
  void announce_snapshot(const SessionRow& session, wire::PushKind kind);

  // By public id, or the latest session of the profile of that name (active ones first).
  Result<SessionInfo> find(const std::string& session_or_profile);
  // All layers that a batch of the session is known to be cut from.
  Result<std::set<Guid>> snapshots(const Guid& session);
  // Saves what was extracted of the disk of a session whose desktop is dead: as a fork, since nobody prepared
  // that snapshot, of what the session had become with `below`, the layer that it was compared with (zero: of
  // what it began with). Then ends the session; after an error it goes on. Without records no version is
  // made, nor where the same was found before. Only the records and held-back files of the batch count, and
  // its snapshot in so far as the same of another one is something else.
  Result<std::optional<wire::CommitReply>> bury(const Guid& session, const Guid& below, profile::Batch batch,
                                                profile::ContentSource& content);

  // What the next log-in to the profile would fetch first, of its head: folders and files of its working set,
  // about so many bytes at most. ErrorCode::not_found for an unknown profile.
  Result<profile::Prewarm> prewarm(const std::string& profile_name, std::uint64_t most_bytes);

  // Ends a session whose desktop and disk are gone for good: what it has not sent is lost.
  Result<void> give_up(const Guid& session);
  // As long as the answer lives no profile is opened on that desktop: ErrorCode::busy.
  OpeningGate::Hold shut_openings(const std::string& desktop) { return openings_.shut(desktop); }

  Result<std::vector<SessionInfo>> sessions(bool active_only);
  struct Counts {
    std::size_t active = 0;
    std::size_t silent = 0;      // of them: whose lease has run out
    std::size_t over_quota = 0;  // of them: whose next batch was refused for it
  };
  Counts counts();
  // For leases that are given or renewed, and hand-overs that begin, from now on.
  void change_times(std::chrono::seconds lease, std::chrono::milliseconds hand_over_wait) {
    lease_ = lease;
    hand_over_wait_ = hand_over_wait;
  }

 private:
  SessionTable(StateStore& store, repository::Repository& repository, SessionOptions options, Faults faults)
      : store_(store),
        repository_(repository),
        options_(std::move(options)),
        faults_(std::move(faults)),
        lease_(options_.lease),
        hand_over_wait_(options_.hand_over_wait) {}

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
  using Sessions = std::vector<std::shared_ptr<Session>>;
  Sessions active_of(const repository::ProfileId& profile);
  SessionState state_of(const Session& session);

  Result<repository::ProfileInfo> find_assigned(const std::string& desktop, const std::string& profile);
  Result<OpenStep> open_step(const std::string& desktop, const wire::OpenRequest& request,
                             OpenAttempt& attempt, const std::function<void()>& wake);
  // For the audit log, if there is one.
  void record_end(const Session& session, const char* what, const std::string& why);
  Result<OpenStep> open_fresh(const std::string& desktop, const wire::OpenRequest& request,
                              const repository::ProfileInfo& profile, OpenAttempt& attempt,
                              const std::function<void()>& wake);
  // How long to wait for the desktops that have the profile; nothing: no longer.
  std::optional<std::chrono::milliseconds> ask_to_flush(const Sessions& holders, const std::string& desktop,
                                                        const std::function<void()>& wake);
  Result<wire::OpenReply> begin_session(const std::string& desktop, const wire::OpenRequest& request,
                                        const repository::ProfileInfo& profile, SessionMode mode,
                                        const Sessions& ended);
  Result<OpenStep> resume(const std::string& desktop, const wire::ResumeInfo& resume, wire::SessionUse use,
                          OpenAttempt& attempt);
  // The session's commit_mutex, or nothing while a batch is being committed: ErrorCode::busy when that takes
  // too long.
  Result<std::unique_lock<std::timed_mutex>> try_lock(Session& session, OpenAttempt& attempt);
  void push_to(const std::string& desktop, const wire::Push& push);
  wire::Push flush_push(const Session& session) const;  // under mutex_
  Result<wire::OpenReply> reply_for(Session& session, const Guid& secret);
  std::mutex& open_mutex(const repository::ProfileId& profile);
  Result<std::uint64_t> next_epoch(const repository::ProfileId& profile);
  Result<void> end(Session& session, SessionState state);  // under its commit_mutex
  // Under mutex_; returns whom to wake once it is released.
  std::vector<std::function<void()>> note_end(Session& session, SessionState state, std::uint64_t now);
  void forget_old_sessions();
  // `rescued`: of a dead desktop, which could not keep what is refused.
  Result<wire::CommitReply> commit_locked(Session& session, const profile::Batch& batch,
                                          profile::ContentSource& content,
                                          const wire::BatchBegin* announced = nullptr, bool rescued = false);
  Result<Incarnation*> line_of(Session& session, Incarnation& named, const profile::Batch& batch);
  // For batches that no desktop numbered: never the current incarnation. One that is there and unused may
  // have another name.
  Result<Guid> add_line(Session& session, std::uint64_t base_version, const Guid& name);
  Result<wire::CommitReply> commit_to(Session& session, const profile::Batch& batch,
                                      profile::ContentSource& content, const wire::BatchBegin* announced,
                                      bool rescued);
  std::uint64_t quota_of(const Session& session) const;
  std::unique_lock<std::mutex> alone_with(const repository::ProfileId& profile);
  // ErrorCode::full, without looking at the batch, while one that was refused for the quota still does not
  // fit.
  Result<void> check_refused(const Session& session, const Incarnation& incarnation,
                             const wire::BatchBegin& begin);
  // Remembers by how much; tells the log and the audit log when it is the first time.
  void note_refused(Session& session, Incarnation& incarnation, const profile::Batch& batch,
                    const wire::BatchBegin* announced, const Error& error);
  static wire::CommitReply reply_of(std::uint64_t ordinal, const Incarnation::Committed& committed);
  // A batch of the session may move the head, as far as the line it is on is not a fork.
  bool may_save(const Session& session, const Incarnation& incarnation, const profile::Batch& batch);
  Result<bool> may_merge(const Session& session, std::uint64_t tip);
  // What the incarnation saved last, where that was made to be merged into the head and is not yet.
  Result<void> merge_last(Session& session, Incarnation& incarnation);
  tl::unexpected<Error> report_storage(const Error& error, bool beside_the_head);
  Result<void> note_empty(Incarnation& incarnation, const profile::Batch& batch);
  Result<std::unique_lock<std::timed_mutex>> lock_for_hand_over(Session& session);
  SessionInfo describe(Session& session);

  StateStore& store_;
  repository::Repository& repository_;
  SessionOptions options_;
  OpeningGate openings_;
  Faults faults_;
  // As they are now; options_ has what they were at first.
  std::atomic<std::chrono::seconds> lease_;
  std::atomic<std::chrono::milliseconds> hand_over_wait_;
  std::unique_ptr<WorkingSetStore> working_sets_;  // may be null
  // A profile is given to one new session at a time; many profiles at once, as each waits for the disk. Never
  // held while a commit is waited for.
  std::array<std::mutex, 64> open_mutexes_;
  // Of profiles with a quota: from a batch's commit to its merge nobody else's growth is judged by a head
  // that does not have it yet. Taken after a session's commit_mutex.
  std::map<repository::ProfileId, std::mutex> saving_mutexes_;  // the map is guarded by mutex_
  std::mutex mutex_;  // guards the maps below and the parts of sessions that say so
  std::map<Digest, std::shared_ptr<Session>> by_digest_;
  std::map<Guid, Digest> digests_;  // by public id, of the same sessions
  std::map<repository::ProfileId, Sessions> active_;
  std::set<repository::ProfileId> epochs_compared_;  // with the repository's, since this table was made
  Session::Clock::time_point next_forgetting_{};
  std::mutex port_mutex_;  // held while the port is called; taken last
  DesktopPort* port_ = nullptr;
};

}  // namespace roamstead::server
