// Committing: which batch moves the head, which is a fork, which is known already.
#include <algorithm>
#include <map>

#include "common/base/event.h"
#include "common/base/sha256.h"
#include "common/wire/batch_stream.h"
#include "coordinator/audit/audit_log.h"
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
  // Of a machine that was set back only the whole batch tells.
  if (incarnation == nullptr || session->find(after_set_back(begin.incarnation)) != nullptr)
    return std::optional<wire::CommitReply>();
  if (begin.ordinal <= incarnation->last_ordinal() && !begin.snapshot.is_zero() &&
      incarnation->snapshot_of(begin.ordinal) != begin.snapshot)
    return std::optional<wire::CommitReply>();
  if (begin.ordinal > incarnation->last_ordinal()) {
    RS_CHECK(check_refused(*session, *incarnation, begin));
    return std::optional<wire::CommitReply>();
  }
  // One that waits to be merged is asked for again, and merged by its commit.
  auto committed = incarnation->at(begin.ordinal);
  if (committed.to_merge && begin.ordinal == incarnation->last_ordinal())
    return std::optional<wire::CommitReply>();
  return std::optional(reply_of(begin.ordinal, committed));
}

Result<wire::CommitReply> SessionTable::commit(const std::string& desktop, const Guid& secret,
                                               const profile::Batch& batch, profile::ContentSource& content,
                                               const wire::BatchBegin* announced) {
  RS_TRY(auto session, authorise(desktop, secret));
  std::lock_guard lock(session->commit_mutex);
  return commit_locked(*session, batch, content, announced);
}

namespace {

constexpr std::size_t kMostSetBacks =
    10'000;  // of one session: a machine that is set back every night has decades

bool says_nothing(const profile::Batch& batch) {
  return batch.records.empty() && batch.held_back.empty() && !batch.final;
}

// Whether the durable batch of the same number is another one. Of those that said nothing only the last is
// remembered.
bool is_another(const Incarnation& incarnation, const profile::Batch& batch) {
  if (batch.snapshot.is_zero() || batch.ordinal == 0) return false;
  const auto known = incarnation.snapshot_of(batch.ordinal);
  return known.is_zero() ? incarnation.by_ordinal.count(batch.ordinal) == 0 && !says_nothing(batch)
                         : known != batch.snapshot;
}

}  // namespace

// The incarnation that a batch is of: the one it names, or one of those that came of it when the machine was
// set back. Makes another one where the batch is none of theirs.
Result<Incarnation*> SessionTable::line_of(Session& session, Incarnation& named,
                                           const profile::Batch& batch) {
  std::map<Guid, Incarnation*> known;
  for (auto& each : session.incarnations) known[each.row.incarnation] = &each;
  std::vector<Incarnation*> lines;
  for (auto at = known.find(named.row.incarnation); at != known.end();
       at = known.find(after_set_back(at->first))) {
    lines.push_back(at->second);
    if (batch.ordinal <= at->second->last_ordinal() && !is_another(*at->second, batch)) return at->second;
  }
  auto& last = *lines.back();
  if (batch.ordinal > last.last_ordinal()) return &last;
  if (lines.size() > kMostSetBacks)
    return fail(ErrorCode::conflict,
                "the machine was set back " + std::to_string(kMostSetBacks) +
                    " times while its session went on: no more is taken of that session");
  // On what the batch before it became, the latest of that number.
  auto base = last.row.base_version;
  for (const auto* line : lines) {
    const bool has_before = line == lines.front() ||
                            (!line->by_ordinal.empty() && line->by_ordinal.begin()->first < batch.ordinal);
    if (has_before && batch.ordinal - 1 <= line->last_ordinal()) base = line->at(batch.ordinal - 1).version;
  }
  IncarnationRow row{after_set_back(last.row.incarnation), 0, base, batch.ordinal - 1, {}};
  RS_CHECK(store_.add_incarnation(session.row.id, row));
  log_event(
      Event::machine_reverted,
      "session {}: desktop '{}' sent another batch {} than before (a reverted machine?): kept beside it",
      session.row.id.to_string(), session.row.desktop, batch.ordinal);
  return &*session.incarnations.insert(session.incarnations.begin(), Incarnation{row, {}, {}});
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
                                                      profile::ContentSource& content,
                                                      const wire::BatchBegin* announced, bool rescued) {
  if (auto* named = session.find(batch.incarnation); named != nullptr) {
    RS_TRY(const auto* line, line_of(session, *named, batch));
    if (line->row.incarnation != batch.incarnation) {
      auto renamed = batch;
      renamed.incarnation = line->row.incarnation;
      return commit_to(session, renamed, content, announced, rescued);
    }
  }
  return commit_to(session, batch, content, announced, rescued);
}

Result<Guid> SessionTable::add_line(Session& session, std::uint64_t base_version, const Guid& name) {
  // One that was made for a batch which then could not be committed.
  for (const auto& each : session.incarnations)
    if (each.row.sequence == 0 && each.row.base_version == base_version && each.last_ordinal() == 0)
      return each.row.incarnation;
  const IncarnationRow row{name, 0, base_version, 0, {}};
  RS_CHECK(store_.add_incarnation(session.row.id, row));
  session.incarnations.insert(session.incarnations.begin(), Incarnation{row, {}, {}});
  return row.incarnation;
}

Result<wire::CommitReply> SessionTable::commit_to(Session& session, const profile::Batch& batch,
                                                  profile::ContentSource& content,
                                                  const wire::BatchBegin* announced, bool rescued) {
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
    // What was saved beside the head to be merged, and was not for a crash, is merged now.
    if (batch.ordinal == last) RS_CHECK(merge_last(session, *incarnation));
    return reply_of(batch.ordinal, incarnation->at(batch.ordinal));
  }
  if (batch.ordinal != last + 1)
    return fail(ErrorCode::protocol, "batch " + std::to_string(batch.ordinal) + " came where " +
                                         std::to_string(last + 1) + " was expected");
  if (says_nothing(batch)) {
    RS_CHECK(note_empty(*incarnation, batch));
    return reply_of(batch.ordinal, incarnation->at(batch.ordinal));
  }
  RS_CHECK(faults_.check("server.before_commit"));
  RS_CHECK(merge_last(session, *incarnation));
  bool entitled = may_save(session, *incarnation, batch) && !incarnation->forked();
  repository::CommitOrigin origin{entitled ? repository::VersionKind::batch : repository::VersionKind::fork,
                                  session.row.desktop, session.row.id, session.row.epoch,
                                  rescued ? 0 : quota_of(session)};
  std::unique_lock<std::mutex> alone;
  if (origin.quota_bytes != 0) alone = alone_with(session.row.profile);
  auto version = repository_.commit(session.row.profile, incarnation->tip(), batch, content, origin);
  if (!version && version.error().code == ErrorCode::stale && entitled) {
    // Somebody else moved the head, and this batch was made without knowing of that.
    RS_TRY(bool merges, may_merge(session, incarnation->tip()));
    origin.kind = merges ? repository::VersionKind::concurrent : repository::VersionKind::fork;
    version = repository_.commit(session.row.profile, incarnation->tip(), batch, content, origin);
  }
  if (!version && event_in(version.error().message) == id_of(Event::over_quota)) {
    note_refused(session, *incarnation, batch, announced, version.error());
    return fail(std::move(version).error());
  }
  if (!version) return report_storage(version.error(), repository::is_beside_head(origin.kind));
  session.over_quota = false;
  if (std::exchange(incarnation->refused, std::nullopt))
    log_event(Event::within_quota, "session {}: '{}' from '{}' is within its quota again",
              session.row.id.to_string(), session.row.profile_name, session.row.desktop);
  // Names of people's files are not for this log; the version has them.
  if (!batch.held_back.empty())
    log_event(Event::held_back, "session {}: {} items from '{}' were not saved in version {} of '{}'",
              session.row.id.to_string(), batch.held_back.size(), session.row.desktop, version->number,
              session.row.profile_name);
  incarnation->by_ordinal[batch.ordinal] = {version->number, !version->on_head_line, version->number,
                                            origin.kind == repository::VersionKind::concurrent,
                                            batch.snapshot};
  incarnation->snapshot = batch.snapshot;
  RS_CHECK(merge_last(session, *incarnation));
  if (incarnation->forked())
    log_event(Event::batch_forked,
              "session {}: batch {} of '{}' from '{}' kept beside the head as version {}",
              session.row.id.to_string(), batch.ordinal, session.row.profile_name, session.row.desktop,
              version->number);
  RS_CHECK(faults_.check("server.before_ack"));
  return reply_of(batch.ordinal, incarnation->at(batch.ordinal));
}

wire::CommitReply SessionTable::reply_of(std::uint64_t ordinal, const Incarnation::Committed& committed) {
  return {ordinal, committed.on_head, committed.forked};
}

std::uint64_t SessionTable::quota_of(const Session& session) const {
  return options_.quota_of ? options_.quota_of(session.row.desktop, session.row.profile) : 0;
}

std::unique_lock<std::mutex> SessionTable::alone_with(const repository::ProfileId& profile) {
  std::unique_lock guard(mutex_);
  auto& saving = saving_mutexes_[profile];  // never moves
  guard.unlock();
  return std::unique_lock(saving);
}

Result<void> SessionTable::check_refused(const Session& session, const Incarnation& incarnation,
                                         const wire::BatchBegin& begin) {
  const auto& refused = incarnation.refused;
  if (!refused || refused->ordinal != begin.ordinal || refused->batch_bytes != begin.batch_bytes ||
      refused->content_bytes != begin.content_bytes)
    return {};  // another one, perhaps of what was deleted since
  auto quota = quota_of(session);
  RS_TRY(auto profile, repository_.find_profile(session.row.profile_name));
  RS_TRY(auto held, repository_.logical_bytes(profile.id, profile.head));
  if (quota == 0 || (held <= quota && refused->growth <= quota - held)) return {};
  return fail(ErrorCode::full, Event::over_quota,
              repository::quota_text(profile.name, held, refused->growth, quota));
}

void SessionTable::note_refused(Session& session, Incarnation& incarnation, const profile::Batch& batch,
                                const wire::BatchBegin* announced, const Error& error) {
  Incarnation::Refused refused{batch.ordinal, 0, 0, 1};
  if (announced != nullptr) {
    refused.batch_bytes = announced->batch_bytes;
    refused.content_bytes = announced->content_bytes;
  }
  if (auto growth = repository_.growth(session.row.profile, incarnation.tip(), batch); growth && *growth > 0)
    refused.growth = static_cast<std::uint64_t>(*growth);
  bool first = !incarnation.refused;
  incarnation.refused = refused;
  session.over_quota = true;
  if (!first) return;  // the agent asks again and again
  log_message(facts_of(Event::over_quota).severity, "session " + session.row.id.to_string() + ", desktop '" +
                                                        session.row.desktop + "': " + error.to_string());
  if (options_.audit != nullptr)
    options_.audit->append({"profile.save",
                            "desktop " + session.row.desktop,
                            "profile " + session.row.profile_name,
                            audit::Outcome::refused,
                            error.to_string(),
                            {{"session", session.row.id.to_string()}}});
}

bool SessionTable::may_save(const Session& session, const Incarnation& incarnation,
                            const profile::Batch& batch) {
  return batch.quiesced && session.row.mode != SessionMode::reader &&
         state_of(session) == SessionState::active && &incarnation == &session.incarnations.back();
}

tl::unexpected<Error> SessionTable::report_storage(const Error& error, bool beside_the_head) {
  // A fork is never behind: then it is this coordinator that is.
  bool superseded = error.code == ErrorCode::stale && beside_the_head;
  if (error.code == ErrorCode::io || error.code == ErrorCode::full || superseded)
    options_.on_storage_failure(error);
  if (superseded)  // for the desktop: not its session, but this coordinator
    return fail(ErrorCode::unavailable, error.to_string());
  return fail(error);
}

// Whether what builds on a version may be merged into the head: it is, or has come to be, on the head line,
// and since then the head was moved by nobody who wanted other content there (a restored version, an import).
Result<bool> SessionTable::may_merge(const Session& session, std::uint64_t tip) {
  RS_TRY(auto versions, repository_.versions(session.row.profile));
  std::uint64_t on_head = 0;
  for (const auto& version : versions)
    if ((version.number == tip && version.on_head_line) || version.merged == tip) on_head = version.number;
  return on_head != 0 && std::none_of(versions.begin(), versions.end(), [&](const auto& version) {
           return version.number > on_head && (version.kind == repository::VersionKind::restore ||
                                               version.kind == repository::VersionKind::import);
         });
}

Result<void> SessionTable::merge_last(Session& session, Incarnation& incarnation) {
  if (incarnation.by_ordinal.empty()) return {};
  auto& last = std::prev(incarnation.by_ordinal.end())->second;
  if (!last.to_merge) return {};
  RS_CHECK(faults_.check("server.before_merge"));
  // The merge is of no session: what sessions have committed is read from the versions.
  repository::CommitOrigin origin{repository::VersionKind::merge, session.row.desktop, {}, session.row.epoch};
  auto merged = repository_.merge(session.row.profile, last.version, false, origin);
  if (!merged) {
    auto code = merged.error().code;
    if (code == ErrorCode::io || code == ErrorCode::full || code == ErrorCode::stale)
      return report_storage(merged.error(), true);
    // It is saved all the same: a fork like any other, for an administrator to look at. Or one did already.
    last.to_merge = false;
    RS_TRY(auto versions, repository_.versions(session.row.profile));
    for (const auto& version : versions)
      if (version.merged == last.version) last.forked = false, last.on_head = version.number;
    if (last.forked)
      log_event(Event::merge_failed, "session {}: {}", session.row.id.to_string(),
                merged.error().to_string());
    return {};
  }
  last.to_merge = last.forked = false;
  last.on_head = merged->version->number;
  log_info("session {}: version {} of '{}' from '{}' merged into the head as version {}, {} conflicts",
           session.row.id.to_string(), last.version, session.row.profile_name, session.row.desktop,
           last.on_head, merged->conflicts.size());
  return {};
}

Result<std::shared_ptr<Session>> SessionTable::by_id(const Guid& id) {
  {
    std::lock_guard guard(mutex_);
    if (auto known = digests_.find(id); known != digests_.end()) return by_digest_.at(known->second);
  }
  RS_TRY(auto row, store_.find_session(id));
  if (!row) return fail(ErrorCode::not_found, "no session " + id.to_string());
  return remember(*row);
}

namespace {

Result<Guid> name_of_found(profile::Batch batch) {
  batch.taken_100ns = 0;
  RS_TRY(const auto encoded, wire::encode_batch(batch));
  Bytes text = to_bytes(as_bytes("found: "));
  text.insert(text.end(), encoded.begin(), encoded.end());
  const auto digest = sha256(text);
  Guid name;
  std::copy_n(digest.begin(), name.bytes.size(), name.bytes.begin());
  return name;
}

}  // namespace

Result<std::set<Guid>> SessionTable::snapshots(const Guid& id) {
  RS_TRY(auto session, by_id(id));
  std::lock_guard lock(session->commit_mutex);
  return session->snapshots();
}

Result<std::optional<wire::CommitReply>> SessionTable::bury(const Guid& id, const Guid& below,
                                                            profile::Batch batch,
                                                            profile::ContentSource& content) {
  RS_TRY(auto session, by_id(id));
  RS_TRY(auto lock, lock_for_hand_over(*session));
  std::optional<wire::CommitReply> saved;
  // Saved before the session ends: one that has ended is not looked at again.
  if (!batch.records.empty()) {
    // A line of its own: a desktop that comes back all the same gives the next number to another batch, and
    // the layer that was read, which it goes on writing to, says nothing of what that batch holds. Named
    // after what was found, so that a disk which is read again is not saved twice.
    batch.incarnation = {};
    batch.ordinal = 1;
    batch.quiesced = false;
    batch.final = true;
    RS_TRY(const auto found, name_of_found(batch));
    batch.snapshot = {};
    if (const auto* known = session->find(found); known != nullptr && known->last_ordinal() != 0) {
      saved = reply_of(1, known->at(1));
    } else {
      RS_TRY(batch.incarnation, add_line(*session, session->version_of(below), found));
      RS_TRY(saved, commit_to(*session, batch, content, nullptr, true));
    }
  }
  log_info("session {} of '{}': the disk of desktop '{}' was extracted on the host, {} records",
           id.to_string(), session->row.profile_name, session->row.desktop, batch.records.size());
  if (state_of(*session) == SessionState::active) RS_CHECK(end(*session, SessionState::superseded));
  return saved;
}

Result<void> SessionTable::give_up(const Guid& id) {
  RS_TRY(auto session, by_id(id));
  RS_TRY(auto lock, lock_for_hand_over(*session));
  if (state_of(*session) != SessionState::active) return {};
  log_info("session {} of '{}' ended: the disk of desktop '{}' is given up, with what it had not sent",
           id.to_string(), session->row.profile_name, session->row.desktop);
  return end(*session, SessionState::superseded);
}

SessionInfo SessionTable::describe(Session& session) {
  SessionInfo info;
  {
    std::lock_guard guard(mutex_);
    info.row = session.row;
    info.lease_seconds = std::chrono::duration<double>(session.lease_until - options_.now()).count();
    info.vanished = session.vanished;
    info.use = session.use;
    if (session.hand_over) info.wanted_by = session.hand_over->to;
  }
  {
    std::lock_guard guard(port_mutex_);
    info.connected = port_ != nullptr && port_->is_connected(session.row.desktop);
  }
  info.last_ordinal = session.current().last_ordinal();
  info.last_version = session.tip();
  info.last_snapshot = session.last_snapshot();
  info.quota_bytes = quota_of(session);
  if (const auto& refused = session.current().refused) info.refused_bytes = refused->growth;
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
