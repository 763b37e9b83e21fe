#include "coordinator/server/host_snapshots.h"

#include <algorithm>

#include "common/base/event.h"
#include "common/extract/extract.h"
#include "common/wire/message.h"
#include "coordinator/server/saved_layer.h"

namespace roamstead::server {

using wire::SnapshotState;

namespace {
constexpr std::chrono::minutes kKnownFor{5};  // desktops say it again with every renewal of the lease
}

HostSnapshots::HostSnapshots(SessionTable& sessions, const compose::PoolStore& pools,
                             ExtractorTable& extractors, Faults faults)
    : sessions_(sessions), pools_(pools), extractors_(extractors), faults_(std::move(faults)) {
  threads_.emplace_back([this] { say_what_is_due(); });
  for (std::size_t i = 0; i < kWorkers; ++i) threads_.emplace_back([this] { work(); });
}

HostSnapshots::~HostSnapshots() {
  std::deque<Job> dropped;
  {
    std::lock_guard lock(mutex_);
    over_ = true;
    dropped.swap(jobs_);
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

HostSnapshots::Use::~Use() {
  std::lock_guard lock(owner_.mutex_);
  if (--owner_.uses_[desktop_] == 0) owner_.uses_.erase(desktop_);
  owner_.changed_.notify_all();
}

HostSnapshots::Shut::~Shut() {
  std::lock_guard lock(owner_.mutex_);
  if (--owner_.shut_[desktop_] == 0) owner_.shut_.erase(desktop_);
}

std::unique_ptr<HostSnapshots::Shut> HostSnapshots::shut(const std::string& desktop) {
  std::unique_lock lock(mutex_);
  ++shut_[desktop];
  changed_.wait(lock, [&] { return uses_.count(desktop) == 0; });
  machines_.erase(desktop);  // its disk may be another one afterwards
  for (auto& [id, entry] : entries_)
    if (entry.row.desktop == desktop) entry.snapshot.reset();
  return std::make_unique<Shut>(*this, desktop);
}

Result<std::unique_ptr<HostSnapshots::Use>> HostSnapshots::use(const std::string& desktop) {
  std::lock_guard lock(mutex_);
  if (shut_.count(desktop) != 0)
    return fail(ErrorCode::busy, "the disk of desktop '" + desktop + "' is being read, set back or deleted");
  ++uses_[desktop];
  return std::make_unique<Use>(*this, desktop);
}

Result<std::shared_ptr<HostMachine>> HostSnapshots::machine_of(const std::string& desktop) {
  {
    std::lock_guard lock(mutex_);
    if (const auto known = machines_.find(desktop); known != machines_.end()) return known->second;
  }
  RS_TRY(auto machine, HostMachine::find(pools_, desktop));
  std::lock_guard lock(mutex_);
  return machines_.try_emplace(desktop, std::move(machine)).first->second;
}

Result<wire::SnapshotOffer> HostSnapshots::offer(const std::string& desktop,
                                                 const wire::SnapshotOfferRequest& request) {
  RS_TRY(const auto machine, machine_of(desktop));
  const wire::SnapshotOffer offered{static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(machine->interval()).count())};
  if (request.session_secret.is_zero()) return offered;
  RS_TRY(const auto session, sessions_.host_session(desktop, request.session_secret, {}));
  if (session.row.state != SessionState::active)
    return fail(ErrorCode::stale, "the session is superseded or closed");
  std::lock_guard lock(mutex_);
  auto& entry = entries_[session.row.id];
  entry.row = session.row;
  entry.interval = machine->interval();
  entry.known_until = Clock::now() + kKnownFor;
  if (!entry.due && entry.interval.count() != 0) {
    entry.due = Clock::now() + entry.interval;
    changed_.notify_all();
  }
  return offered;
}

Result<wire::FrozenReply> HostSnapshots::quiet(const std::string& desktop,
                                               const wire::QuietRequest& request) {
  if (request.provenance_path.empty() || request.provenance_path.size() > wire::kMaxProvenancePath)
    return fail(ErrorCode::protocol,
                "quiet: a journal's path of " + std::to_string(request.provenance_path.size()) + " bytes");
  RS_TRY(const auto session, sessions_.host_session(desktop, request.session_secret, request.incarnation));
  const auto& row = session.row;
  if (row.state == SessionState::active && !session.current)
    return fail(ErrorCode::stale, "the session was resumed since");
  RS_TRY(auto in_use, use(desktop));
  RS_TRY(const auto machine, machine_of(desktop));
  auto snapshot = std::make_shared<Snapshot>();
  {
    std::unique_lock lock(mutex_);
    auto& entry = entries_[row.id];
    entry.row = row;
    entry.known_until = std::max(entry.known_until, Clock::now() + kKnownFor);
    // Asked again, on another connection: it is frozen once.
    changed_.wait(lock, [&] { return !entry.freezing; });
    if (entry.snapshot && entry.snapshot->token == request.token)
      return wire::FrozenReply{entry.snapshot->ordinal, entry.snapshot->layer.id};
    if (entry.snapshot && entry.snapshot->state.kind == SnapshotState::Kind::working)
      return fail(ErrorCode::busy, "the snapshot before is still being saved");
    if (entry.snapshot && !entry.snapshot->confirmed) ++entry.given_up;
    entry.snapshot.reset();
    if (entry.given_up >= kMostGivenUp) {
      entry.given_up = 0;
      jobs_.push_back({row.id, nullptr, machine, std::move(in_use)});
      changed_.notify_all();
      return fail(ErrorCode::busy, "layers of " + std::to_string(kMostGivenUp) +
                                       " snapshots that were not confirmed are merged first; try again");
    }
    entry.freezing = true;
  }
  auto frozen = machine->freeze();
  auto checked = faults_.check("host.after_freeze");
  std::lock_guard lock(mutex_);
  auto& entry = entries_[row.id];
  entry.freezing = false;
  changed_.notify_all();
  if (!frozen && frozen.error().code != ErrorCode::busy)
    log_event(Event::host_snapshot_failed, "desktop '{}': its disk cannot be frozen: {}", desktop,
              frozen.error().to_string());
  if (!frozen) return fail(std::move(frozen).error());
  RS_CHECK(std::move(checked));
  snapshot->token = request.token;
  snapshot->incarnation = request.incarnation;
  snapshot->layer = std::move(*frozen);
  snapshot->ordinal = session.last_ordinal + 1;
  snapshot->ended = request.ended;
  snapshot->provenance_path = request.provenance_path;
  entry.snapshot = snapshot;
  return wire::FrozenReply{snapshot->ordinal, snapshot->layer.id};
}

Result<SnapshotState> HostSnapshots::held(const std::string& desktop, const wire::HeldRequest& request) {
  RS_TRY(const auto session, sessions_.host_session(desktop, request.session_secret, request.incarnation));
  {
    std::unique_lock lock(mutex_);
    const auto known = entries_.find(session.row.id);
    auto* entry = known == entries_.end() ? nullptr : &known->second;
    if (entry != nullptr && entry->snapshot && entry->snapshot->token == request.token) {
      auto snapshot = entry->snapshot;
      if (!snapshot->confirmed && !request.held) {
        log_info("desktop '{}' let programs go before its disk was frozen: nothing is made of that", desktop);
        entry->snapshot.reset();
        ++entry->given_up;
        return SnapshotState();
      }
      if (!snapshot->confirmed) {
        lock.unlock();
        RS_TRY(auto in_use, use(desktop));
        RS_TRY(auto machine, machine_of(desktop));
        lock.lock();
        if (!std::exchange(snapshot->confirmed, true)) {
          snapshot->state.kind = SnapshotState::Kind::working;
          jobs_.push_back({session.row.id, snapshot, std::move(machine), std::move(in_use)});
          changed_.notify_all();
        }
        const auto state = snapshot->state;
        lock.unlock();  // before `in_use`, where it was not needed
        return state;
      }
      auto state = snapshot->state;
      state.frozen_layers = static_cast<std::uint32_t>(entry->frozen_layers);
      return state;
    }
  }
  // It is not known, as when this coordinator was started again; perhaps it was durable by then.
  SnapshotState state;
  if (request.ordinal == 0 || session.last_ordinal < request.ordinal || session.last_cut != request.snapshot)
    return state;
  RS_TRY(const auto reply, sessions_.committed(session.row.id, request.incarnation, request.ordinal));
  state.kind = SnapshotState::Kind::saved;
  state.version = reply.version;
  state.forked = reply.forked;
  return state;
}

void HostSnapshots::say_what_is_due() {
  std::unique_lock lock(mutex_);
  while (!over_) {
    const auto now = Clock::now();
    auto next = now + kKnownFor;
    std::vector<SessionRow> due;
    for (auto it = entries_.begin(); it != entries_.end();) {
      auto& entry = it->second;
      const bool working =
          entry.freezing || (entry.snapshot && entry.snapshot->state.kind == SnapshotState::Kind::working);
      if (entry.known_until < now && !working) {
        it = entries_.erase(it);
        continue;
      }
      if (entry.due && *entry.due <= now) {
        if (!working) due.push_back(entry.row);
        entry.due = now + entry.interval;
      }
      if (entry.due) next = std::min(next, *entry.due);
      ++it;
    }
    if (!due.empty()) {
      lock.unlock();
      for (const auto& session : due) sessions_.announce_snapshot(session, wire::PushKind::snapshot_due);
      lock.lock();
      continue;
    }
    changed_.wait_until(lock, next);
  }
}

void HostSnapshots::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return over_ || !jobs_.empty(); });
    if (over_) return;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    if (job.snapshot) save(job);
    tidy(job);
    job.use.reset();
    lock.lock();
  }
}

void HostSnapshots::save(Job& job) {
  auto saved = extract_and_commit(job);
  SessionRow row;
  {
    std::lock_guard lock(mutex_);
    auto& entry = entries_[job.session];
    row = entry.row;
    if (saved) {
      job.snapshot->state = *saved;
      if (job.snapshot->ended) entry.due.reset();
    } else {
      auto failure = wire::to_failure(saved.error());
      job.snapshot->state = {};
      job.snapshot->state.kind = SnapshotState::Kind::failed;
      job.snapshot->state.code = std::move(failure.code);
      job.snapshot->state.message = std::move(failure.message);
    }
  }
  // A quota is told of by the session's table.
  if (!saved && event_in(saved.error().to_string()).empty())
    log_event(Event::host_snapshot_failed, "session {} of '{}' on '{}': snapshot {}: {}", row.id.to_string(),
              row.profile_name, row.desktop, job.snapshot->ordinal, saved.error().to_string());
  sessions_.announce_snapshot(row, wire::PushKind::snapshot_done);
}

Result<SnapshotState> HostSnapshots::extract_and_commit(const Job& job) {
  const auto& snapshot = *job.snapshot;
  RS_CHECK(faults_.check("host.before_extract"));
  extract::Request request;
  request.frozen_path = snapshot.layer.path;
  RS_TRY(const auto cut_from, sessions_.snapshots(job.session));
  RS_TRY_CTX(request.below_id, "extracting from " + snapshot.layer.path,
             saved_layer(snapshot.layer.path, cut_from));
  request.ended = snapshot.ended;
  request.provenance_path = snapshot.provenance_path;
  RS_TRY(request.partition, job.machine->partition(snapshot.layer.path));
  RS_TRY_CTX(const auto extraction, "extracting from " + snapshot.layer.path,
             extractors_.find(job.machine->disk())->extract(request));
  const auto& journal = extraction->journal();
  if (!journal || journal->session != job.session)
    return fail(ErrorCode::conflict,
                snapshot.layer.path + ": Windows' volume holds " +
                    (journal ? "session " + journal->session.to_string() : std::string("no session")) +
                    ", not session " + job.session.to_string());
  auto batch = extraction->batch();
  batch.incarnation = snapshot.incarnation;
  batch.ordinal = snapshot.ordinal;
  // One without changes makes no version; its ordinal and layer are noted.
  batch.final = snapshot.ended && !(batch.records.empty() && batch.held_back.empty());
  const auto& found = extraction->statistics();
  log_info(
      "session {}: snapshot {} extracted in {:.0f} ms: {} KiB differ of {} KiB written, {} files "
      "examined{}, {} records",
      job.session.to_string(), snapshot.ordinal, found.seconds * 1e3, found.changed_bytes >> 10,
      found.delta_bytes >> 10, found.files_examined, found.map_built ? ", cluster map built" : "",
      batch.records.size());
  RS_CHECK(faults_.check("host.before_commit"));
  RS_TRY(const auto reply,
         sessions_.commit_from_host(job.session, request.below_id, batch, extraction->content()));
  RS_CHECK(faults_.check("host.after_commit"));
  SnapshotState state;
  state.kind = SnapshotState::Kind::saved;
  state.version = reply.version;
  state.forked = reply.forked;
  state.records = batch.records.size();
  state.content_bytes = batch.content_bytes();
  state.held_back = batch.held_back.size();
  state.extract_ms = static_cast<std::uint32_t>(found.seconds * 1e3);
  return state;
}

// Whatever became of the snapshot: the layers of those that fail become no fewer by themselves. What any
// session of the desktop was saved from last is what its next batch is cut from.
void HostSnapshots::tidy(const Job& job) {
  std::string desktop;
  std::set<Guid> keep;
  {
    std::lock_guard lock(mutex_);
    desktop = entries_[job.session].row.desktop;
    for (const auto& [id, entry] : entries_)
      if (entry.row.desktop == desktop && entry.snapshot) keep.insert(entry.snapshot->layer.id);
  }
  keep.merge(sessions_.last_snapshots(desktop));
  if (job.snapshot) keep.insert(job.snapshot->layer.id);
  const auto cut_from = sessions_.snapshots(job.session);
  const auto layers = cut_from ? job.machine->tidy(keep, *cut_from) : fail(cut_from.error());
  if (!layers)
    return log_info("layers of desktop '{}' are not merged: {}", desktop, layers.error().to_string());
  std::lock_guard lock(mutex_);
  entries_[job.session].frozen_layers = *layers;
}

}  // namespace roamstead::server
