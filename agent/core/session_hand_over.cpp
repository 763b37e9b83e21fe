// What the coordinator says unasked, and what the session does about it.
#include "agent/core/session.h"
#include "agent/core/session_rules.h"
#include "common/base/log.h"

namespace roamstead::agent {

using Clock = Activity::Clock;

void Session::hear(const wire::Push& push) {
  constexpr std::size_t kMostPushes = 16;
  if (push.kind == wire::PushKind::snapshot_due || push.kind == wire::PushKind::snapshot_done) {
    if (push.session != facts_.session) return;
    saver_->note(push);
    if (push.kind == wire::PushKind::snapshot_due) snapshotter_.ring();
    return;
  }
  std::lock_guard lock(pushes_mutex_);
  if (pushes_.size() < kMostPushes) pushes_.push_back(push);
  answerer_.ring();
}

void Session::answer_pushes() {
  while (!answerer_.stopping()) {
    std::optional<wire::Push> next;
    {
      std::lock_guard lock(pushes_mutex_);
      if (!pushes_.empty()) {
        next = std::move(pushes_.front());
        pushes_.pop_front();
      }
    }
    if (!next) {
      answerer_.wait();
      continue;
    }
    bool ours = next->session == facts_.session;
    switch (next->kind) {
      case wire::PushKind::flush:
        if (ours) hand_over(*next);
        break;
      case wire::PushKind::close:
        if (!ours) break;
        log_info("the coordinator wants the session closed: {}", next->text);
        if (config_.on_close_wanted) config_.on_close_wanted(*next);
        break;
      case wire::PushKind::prepare:
      // What is told at the next log-in: rules too, as every snapshot of a session is cut by the same.
      case wire::PushKind::policy_changed:
      case wire::PushKind::snapshot_due:  // heard already
      case wire::PushKind::snapshot_done:
        log_info("the coordinator says: {} {}", next->text, next->profile);
        if (config_.on_push) config_.on_push(*next);
        break;
      case wire::PushKind::settings:  // of the agent: its link tells it, whoever is logged on
        break;
    }
  }
}

// The push may come again, on another connection or because the one before was late.
void Session::hand_over(const wire::Push& push) {
  constexpr auto kDefaultPatience = std::chrono::milliseconds(10'000);
  auto before = phase_.load();
  if (before == SessionPhase::handed_over || before == SessionPhase::superseded) return;
  if (hand_over_unused()) return;
  log_info("the profile is wanted elsewhere ({}): sending what there is", push.text);
  phase_ = SessionPhase::flushing;
  auto done = flush_and_hand_over(push.deadline_ms != 0 ? std::chrono::milliseconds(push.deadline_ms)
                                                        : kDefaultPatience);
  note_error(done);
  if (done) {
    phase_ = SessionPhase::handed_over;
    log_info("the profile is handed over");
    return;
  }
  // Perhaps the session is still ours, and what programs do counts: until we are told otherwise they may.
  phase_ = before;
  if (done.error().code == ErrorCode::stale)
    note_superseded();
  else
    loader_->gate().refuse_programs(before == SessionPhase::reading);
}

Result<void> Session::flush_and_hand_over(std::chrono::milliseconds patience) {
  auto until = Clock::now() + patience;
  auto left = [&] {
    return std::max(std::chrono::milliseconds(0),
                    std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()));
  };
  RS_CHECK_CTX("hand-over", note_log_out(volume_, config_.agent_root, facts_.session, rules_));
  RS_TRY_CTX(auto taken, "hand-over", saver_->take(SnapshotKind::hand_over, left()));
  if (!taken.taken)
    return fail(ErrorCode::busy, "hand-over: frozen layers cannot be merged, so no snapshot can be taken");
  ++snapshots_taken_;
  changed_ = false;
  RS_CHECK_CTX("hand-over", saver_->drain(left()));
  return link_.hand_over(facts_.session_secret);
}

void Session::note_superseded() {
  phase_ = SessionPhase::superseded;
  loader_->gate().refuse_programs(true);
  log_warning(
      "the profile was opened on another desktop before everything was sent from here: what is sent "
      "from now on is kept as a fork");
}

}  // namespace roamstead::agent
