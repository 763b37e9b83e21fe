// Sessions that are saved from snapshots which the host makes of their desktops' disks.
#include "common/base/event.h"
#include "common/base/log.h"
#include "coordinator/server/session_table.h"

namespace roamstead::server {

namespace {
// For a batch that is being committed, perhaps the one that is asked for: who asks asks again, and no thread
// of the request pool waits for a commit.
constexpr std::chrono::milliseconds kMostWait{5};
}  // namespace

Result<SessionTable::HostSession> SessionTable::host_session(const std::string& desktop, const Guid& secret,
                                                             const Guid& incarnation) {
  RS_TRY(auto session, authorise(desktop, secret));
  std::unique_lock lock(session->commit_mutex, kMostWait);
  if (!lock)
    return fail(ErrorCode::busy,
                "a batch of session " + session->row.id.to_string() + " is just being committed; try again");
  HostSession told;
  {
    std::lock_guard guard(mutex_);
    told.row = session->row;
  }
  if (const auto* known = session->find(incarnation)) {
    told.current = told.row.state == SessionState::active && known == &session->incarnations.back();
    told.last_ordinal = known->last_ordinal();
    told.last_cut = known->snapshot;
  }
  return told;
}

Result<wire::CommitReply> SessionTable::commit_from_host(const Guid& id, const Guid& below,
                                                         profile::Batch batch,
                                                         profile::ContentSource& content) {
  RS_TRY(auto session, by_id(id));
  std::lock_guard lock(session->commit_mutex);
  if (state_of(*session) == SessionState::active && session->current().row.incarnation != batch.incarnation)
    return fail(ErrorCode::stale, "session " + id.to_string() + " was resumed since the snapshot was made");
  const auto* line = session->find(batch.incarnation);
  const auto base = session->version_of(below);
  if (line != nullptr && base == line->tip()) return commit_locked(*session, batch, content);
  for (const auto& each : session->incarnations)
    if (each.row.sequence == 0 && !below.is_zero() && each.snapshot == below) {
      batch.incarnation = each.row.incarnation;
      batch.ordinal = each.last_ordinal() + 1;
      return commit_to(*session, batch, content, nullptr, false);
    }
  RS_TRY(batch.incarnation, add_line(*session, base, Guid::random()));
  batch.ordinal = 1;
  RS_TRY(auto reply, commit_to(*session, batch, content, nullptr, false));
  log_event(Event::machine_reverted,
            "session {}: the disk of desktop '{}' is that of an earlier state (a reverted machine?): what "
            "changes in it becomes a fork of version {}",
            id.to_string(), session->row.desktop, base);
  return reply;
}

Result<wire::CommitReply> SessionTable::committed(const Guid& id, const Guid& incarnation,
                                                  std::uint64_t ordinal) {
  RS_TRY(auto session, by_id(id));
  std::lock_guard lock(session->commit_mutex);
  const auto* known = session->find(incarnation);
  if (known == nullptr || ordinal > known->last_ordinal())
    return fail(ErrorCode::not_found, "batch " + std::to_string(ordinal) + " is not durable");
  return reply_of(ordinal, known->at(ordinal));
}

std::set<Guid> SessionTable::last_snapshots(const std::string& desktop) {
  Sessions of_desktop;
  {
    std::lock_guard guard(mutex_);
    for (const auto& [profile, sessions] : active_)
      for (const auto& session : sessions)
        if (session->row.desktop == desktop) of_desktop.push_back(session);
  }
  std::set<Guid> layers;
  for (const auto& session : of_desktop) {
    std::lock_guard lock(session->commit_mutex);
    layers.insert(session->last_snapshot());
  }
  return layers;
}

void SessionTable::announce_snapshot(const SessionRow& session, wire::PushKind kind) {
  push_to(session.desktop, {kind, session.id, 0, session.profile_name, "a snapshot by the host"});
}

}  // namespace roamstead::server
