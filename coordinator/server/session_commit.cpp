// Committing: which batch moves the head, which is a fork, which is known already.
#include "common/base/log.h"
#include "coordinator/server/session_table.h"

namespace roamstead::server {

Result<std::optional<wire::CommitReply>> SessionTable::find_committed(const std::string& desktop,
                                                                      const wire::BatchBegin& begin) {
  RS_TRY(auto session, authorise(desktop, begin.session_secret));
  // While a batch of the session is being committed (perhaps this very one) the question is not worth waiting
  // for: the batch is taken, and its commit finds out.
  std::unique_lock lock(session->commit_mutex, std::try_to_lock);
  if (!lock) return std::optional<wire::CommitReply>();
  auto* incarnation = session->find(begin.incarnation);
  if (incarnation == nullptr || begin.ordinal > incarnation->last_ordinal())
    return std::optional<wire::CommitReply>();
  auto committed = incarnation->at(begin.ordinal);
  return std::optional(wire::CommitReply{begin.ordinal, committed.version, committed.forked});
}

Result<wire::CommitReply> SessionTable::commit(const std::string& desktop, const Guid& secret,
                                               const profile::Batch& batch, profile::ContentSource& content) {
  RS_TRY(auto session, authorise(desktop, secret));
  std::lock_guard lock(session->commit_mutex);
  return commit_locked(*session, batch, content);
}

Result<void> SessionTable::note_empty(Incarnation& incarnation, const profile::Batch& batch) {
  auto row = incarnation.row;
  row.noted_ordinal = batch.ordinal;
  row.noted_snapshot = batch.snapshot;
  RS_CHECK(store_.note_ordinal(row));
  incarnation.row = row;
  incarnation.snapshot = batch.snapshot;
  return {};
}

Result<wire::CommitReply> SessionTable::commit_locked(Session& session, const profile::Batch& batch,
                                                      profile::ContentSource& content) {
  auto* incarnation = session.find(batch.incarnation);
  if (incarnation == nullptr) {
    // Not one of ours, but the session's secret is: kept, from its first batch on, beside the head.
    IncarnationRow row{
        batch.incarnation, 0, session.row.version, batch.ordinal == 0 ? 0 : batch.ordinal - 1, {}};
    RS_CHECK(store_.add_incarnation(session.row.id, row));
    incarnation = &*session.incarnations.insert(session.incarnations.begin(), Incarnation{row, {}, {}});
  }
  auto last = incarnation->last_ordinal();
  if (batch.ordinal <= last && batch.ordinal != 0) {
    auto committed = incarnation->at(batch.ordinal);
    return wire::CommitReply{batch.ordinal, committed.version, committed.forked};
  }
  if (batch.ordinal != last + 1)
    return fail(ErrorCode::protocol, "batch " + std::to_string(batch.ordinal) + " came where " +
                                         std::to_string(last + 1) + " was expected");
  if (batch.records.empty() && batch.held_back.empty() && !batch.final) {
    RS_CHECK(note_empty(*incarnation, batch));
    return wire::CommitReply{batch.ordinal, incarnation->tip(), incarnation->forked()};
  }
  bool entitled = batch.quiesced && state_of(session) == SessionState::active &&
                  session.row.mode != SessionMode::reader && incarnation == &session.current() &&
                  !incarnation->forked();
  repository::CommitOrigin origin{entitled ? repository::VersionKind::batch : repository::VersionKind::fork,
                                  session.row.desktop, session.row.id, session.row.epoch};
  RS_CHECK(faults_.check("server.before_commit"));
  auto version = repository_.commit(session.row.profile, incarnation->tip(), batch, content, origin);
  if (!version && version.error().code == ErrorCode::stale && entitled) {
    // Somebody else moved the head (a restored version): this batch was made without knowing of it.
    origin.kind = repository::VersionKind::fork;
    version = repository_.commit(session.row.profile, incarnation->tip(), batch, content, origin);
  }
  if (!version) {
    auto code = version.error().code;
    // A fork is never behind: then it is this coordinator that is.
    bool superseded = code == ErrorCode::stale && origin.kind == repository::VersionKind::fork;
    if (code == ErrorCode::io || code == ErrorCode::full || superseded)
      options_.on_storage_failure(version.error());
    if (superseded)  // for the desktop: not its session, but this coordinator
      return fail(ErrorCode::unavailable, version.error().to_string());
    return fail(std::move(version).error());
  }
  incarnation->by_ordinal[batch.ordinal] = {version->number, !version->on_head_line};
  incarnation->snapshot = batch.snapshot;
  if (!version->on_head_line)
    log_warning("session {}: batch {} of '{}' from '{}' kept beside the head as version {}",
                session.row.id.to_string(), batch.ordinal, session.row.profile_name, session.row.desktop,
                version->number);
  RS_CHECK(faults_.check("server.before_ack"));
  return wire::CommitReply{batch.ordinal, version->number, !version->on_head_line};
}

Result<std::shared_ptr<Session>> SessionTable::by_id(const Guid& id) {
  {
    std::lock_guard guard(mutex_);
    for (auto& [digest, session] : by_digest_)
      if (session->row.id == id) return session;
  }
  RS_TRY(auto row, store_.find_session(id));
  if (!row) return fail(ErrorCode::not_found, "no session " + id.to_string());
  return remember(*row);
}

Result<std::optional<wire::CommitReply>> SessionTable::bury(const Guid& id, profile::Batch batch,
                                                            profile::ContentSource& content) {
  RS_TRY(auto session, by_id(id));
  RS_TRY(auto lock, lock_for_hand_over(*session));
  if (state_of(*session) == SessionState::active) RS_CHECK(end(*session, SessionState::superseded));
  log_info("session {} of '{}' ended: the disk of desktop '{}' was extracted on the host, {} records",
           id.to_string(), session->row.profile_name, session->row.desktop, batch.records.size());
  if (batch.records.empty()) return std::optional<wire::CommitReply>();
  batch.incarnation = session->current().row.incarnation;
  batch.ordinal = session->current().last_ordinal() + 1;
  batch.quiesced = false;
  batch.final = true;
  RS_TRY(auto reply, commit_locked(*session, batch, content));
  return std::optional(reply);
}

SessionInfo SessionTable::describe(Session& session) {
  SessionInfo info;
  {
    std::lock_guard guard(mutex_);
    info.row = session.row;
    info.lease_seconds = std::chrono::duration<double>(session.lease_until - options_.now()).count();
    info.vanished = session.vanished;
    if (session.hand_over) info.wanted_by = session.hand_over->to;
  }
  {
    std::lock_guard guard(port_mutex_);
    info.connected = port_ != nullptr && port_->is_connected(session.row.desktop);
  }
  info.last_ordinal = session.current().last_ordinal();
  info.last_version = session.tip();
  info.last_snapshot = session.last_snapshot();
  return info;
}

Result<SessionInfo> SessionTable::find(const std::string& session_or_profile) {
  Guid wanted;
  if (auto id = Guid::parse(session_or_profile)) {
    wanted = *id;
  } else {
    RS_TRY(auto profile, repository_.find_profile(session_or_profile));
    RS_TRY(auto rows, store_.sessions(false));
    for (const auto& row : rows) {  // oldest first
      if (row.profile != profile.id) continue;
      wanted = row.id;
      if (row.state == SessionState::active) break;
    }
    if (wanted.is_zero())
      return fail(ErrorCode::not_found, "profile '" + session_or_profile + "' was never opened");
  }
  RS_TRY(auto session, by_id(wanted));
  std::lock_guard lock(session->commit_mutex);
  return describe(*session);
}

Result<std::vector<SessionInfo>> SessionTable::sessions(bool active_only) {
  RS_TRY(auto rows, store_.sessions(active_only));
  std::vector<SessionInfo> infos;
  for (const auto& row : rows) {
    RS_TRY(auto session, by_id(row.id));
    std::lock_guard lock(session->commit_mutex);
    infos.push_back(describe(*session));
  }
  return infos;
}

}  // namespace roamstead::server
