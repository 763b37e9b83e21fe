// A session opened ahead of a log-on: what is loaded for it, and how it comes into use, or goes.
#include "agent/core/session.h"
#include "agent/core/unused_mark.h"
#include "common/base/log.h"

namespace roamstead::agent {

using wire::SessionUse;
using Clock = Activity::Clock;

Result<void> Session::get_ready(std::chrono::milliseconds patience) {
  RS_CHECK_CTX("getting '" + facts_.profile + "' ready", load_first(Clock::now() + patience));
  auto expected = SessionUse::preparing;
  if (!not_ready_any_more_ && use_.compare_exchange_strong(expected, SessionUse::ready))
    housekeeper_.ring();  // who tells the coordinator
  return {};
}

Result<void> Session::load_first(Clock::time_point until) {
  const auto over = [&] { return not_ready_any_more_ || use_ != SessionUse::preparing; };
  for (const auto& hive : profile::hive_paths())
    RS_CHECK(loader_->populate_above(hive, Priority::background));
  const auto populate = [&](const std::string& place) -> Result<void> {
    RS_TRY(auto directory, volume_.open(place, ""));
    return loader_->populate(*directory, Priority::background);
  };
  RS_CHECK(populate(config_.profile_root));
  for (const auto& path : first_directories_) {
    if (over()) return {};
    if (Clock::now() >= until) return fail(ErrorCode::timeout, "not all folders are there in time");
    auto there = loader_->populate_above(path, Priority::background);
    if (there)
      there = populate(path.is_root() ? config_.profile_root : config_.profile_root + "/" + path.text());
    // Folders that are gone since they were learnt are nobody's need.
    if (!there && there.error().code != ErrorCode::not_found) return there;
  }
  const auto under_way = [&] {
    return !prefetch_->finished() || (settler_ != nullptr && settler_->waiting() != 0);
  };
  while (under_way() && Clock::now() < until && !over())
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  if (over()) return {};
  RS_CHECK(loader_->flush_tags());
  return volume_.sync();
}

Result<void> Session::take_into_use() {
  {
    std::lock_guard lock(use_mutex_);
    if (use_ == SessionUse::in_use) return {};
    const auto unheard = Clock::now() - Clock::time_point(Clock::duration(renewed_.load()));
    if (phase_ == SessionPhase::open && unheard > 2 * renew_every_ && !renewal_failed_) renew_lease();
    if (phase_ != SessionPhase::open)
      return fail(ErrorCode::stale, "the profile was opened on another desktop meanwhile");
    RS_CHECK(mark_used(volume_, config_.agent_root));
    use_ = SessionUse::in_use;
  }
  if (config_.learn_for.count() != 0) learner_.start(config_.learn_for);
  housekeeper_.ring();
  return {};
}

// True: the session is, or was just, given up, as nobody uses it. There is nothing to send and nobody to
// wait for.
bool Session::hand_over_unused() {
  {
    std::lock_guard lock(use_mutex_);
    if (use_ == SessionUse::in_use) return false;
    phase_ = SessionPhase::flushing;  // whoever logs on now needs another session
  }
  loader_->gate().refuse_programs(true);
  auto done = link_.hand_over(facts_.session_secret);
  if (!done && done.error().code != ErrorCode::stale) note_error(done);  // it gets it without us, later
  phase_ = SessionPhase::handed_over;
  log_info("the profile, which nobody uses here yet, is handed over");
  return true;
}

Result<void> Session::close_unused() {
  not_ready_any_more_ = true;
  stop_threads();
  RS_CHECK(log_->close_session());
  if (phase_ != SessionPhase::open) return {};
  if (auto closed = link_.close(facts_.session_secret); !closed)  // its lease runs out
    log_info("the coordinator was not told that nobody logged on: {}", closed.error().to_string());
  return {};
}

}  // namespace roamstead::agent
