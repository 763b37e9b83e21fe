#include "agent/core/snapshot_cycle.h"

#include "common/base/log.h"

namespace roamstead::agent {

Result<SnapshotResult> SnapshotCycle::take(SnapshotKind kind, std::chrono::milliseconds patience) {
  std::lock_guard lock(mutex_);
  auto start = Activity::Clock::now();
  SnapshotResult result;
  // Beyond the profile's quota: cut again with what has changed since, as less may be left of it.
  constexpr std::chrono::milliseconds kRecut{120'000};  // it may be much, and is all sent anew
  RS_TRY(bool withdrawn,
         sender_.withdraw_refused(kind == SnapshotKind::interval ? kRecut : std::chrono::milliseconds(0)));
  if (withdrawn) log_info("changes that went beyond the quota are cut again with those since");
  RS_TRY(bool room, make_room(kind, patience));
  if (!room) return result;
  RS_TRY_CTX(auto frozen, "snapshot", freeze(kind, result.hold_seconds));
  result.taken = true;
  RS_TRY(auto layers, snapshots_.frozen_layers());
  if (layers > kMostFrozenLayers) {
    RS_TRY(layers, tidy_locked());
  }
  RS_TRY(auto facts, log_.session());
  if (!facts) return fail(ErrorCode::internal, "a snapshot without a session");
  auto extracting = Activity::Clock::now();
  RS_TRY_CTX(auto cut, "extracting from " + frozen.path, snapshots_.cut(frozen, facts->last_cut));
  result.extract_seconds = Activity::seconds_since(extracting);
  changelog::QueuedBatch queued{cut->batch(), frozen.path, cut->locators()};
  queued.batch.snapshot = frozen.id;
  queued.batch.final = kind == SnapshotKind::final;
  result.records = queued.batch.records.size();
  result.content_bytes = queued.batch.content_bytes();
  result.held_back = queued.batch.held_back.size();
  for (auto& held : queued.batch.held_back) log_warning("not saved: {}: {}", held.path, held.reason);
  if (queued.batch.records.empty() && queued.batch.held_back.empty()) {
    RS_CHECK(log_.note_cut(frozen.id));
    cut.reset();
    // Nobody who logs off waits for it: what prepares the next log-on does it then.
    if (kind != SnapshotKind::final)
      if (auto tidied = tidy_locked(); !tidied)
        log_warning("merging frozen layers: {}", tidied.error().to_string());
  } else {
    RS_TRY(result.ordinal, log_.append(queued));
    sender_.offer(result.ordinal, std::move(cut));
  }
  result.seconds = Activity::seconds_since(start);
  return result;
}

// At most two frozen layers: a further snapshot needs the batches before it sent, and their layers merged.
// Where a layer could not be cut, or a crash came before, a third one is there for as long as it takes to
// merge the two.
Result<bool> SnapshotCycle::make_room(SnapshotKind kind, std::chrono::milliseconds patience) {
  RS_TRY(auto layers, snapshots_.frozen_layers());
  if (layers < kMostFrozenLayers) return true;
  if (kind != SnapshotKind::interval) RS_CHECK(sender_.drain(patience));
  RS_TRY(layers, tidy_locked());
  if (layers < kMostFrozenLayers) return true;
  RS_TRY(auto waiting, log_.pending());
  return waiting == 0;
}

Result<FrozenLayer> SnapshotCycle::freeze(SnapshotKind kind, double& hold_seconds) {
  return while_quiet(parts_, hold_seconds, [&] {
    if (kind == SnapshotKind::final || kind == SnapshotKind::hand_over) snapshots_.expect_last();
    if (kind != SnapshotKind::interval) snapshots_.expect_whole();
    auto frozen = snapshots_.freeze();
    if (frozen && kind == SnapshotKind::hand_over) parts_.loader.gate().refuse_programs(true);
    return frozen;
  });
}

Result<std::size_t> SnapshotCycle::tidy() {
  std::lock_guard lock(mutex_);
  return tidy_locked();
}

Result<std::size_t> SnapshotCycle::tidy_locked() {
  RS_TRY(auto facts, log_.session());
  if (facts) {
    auto merge = [&] { return snapshots_.tidy(facts->last_cut); };
    RS_TRY(bool merged, sender_.when_empty(merge));
    (void)merged;
  }
  return snapshots_.frozen_layers();
}

}  // namespace roamstead::agent
