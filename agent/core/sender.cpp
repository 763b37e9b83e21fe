#include "agent/core/sender.h"

#include "agent/core/patience.h"
#include "common/base/event.h"

namespace roamstead::agent {

Sender::Sender(wire::CoordinatorLink& link, Guid session_secret, changelog::ChangeLog& log,
               SnapshotPort& snapshots, Activity& activity, SenderOptions options)
    : link_(link),
      session_secret_(session_secret),
      log_(log),
      snapshots_(snapshots),
      activity_(activity),
      options_(options) {}

void Sender::start() {
  oldest_since_ = Activity::Clock::now();  // batches of a process before this one have waited long enough
  worker_.start([this] { run(); });
}

void Sender::offer(std::uint64_t ordinal, std::unique_ptr<Cut> cut) {
  std::lock_guard lock(mutex_);
  cuts_[ordinal] = std::move(cut);
  if (!oldest_since_) oldest_since_ = Activity::Clock::now();
  worker_.ring();
}

bool Sender::opportune() const {
  std::lock_guard lock(mutex_);
  if (urgent_ != 0) return true;
  if (oldest_since_ && Activity::Clock::now() - *oldest_since_ >= options_.max_lag) return true;
  return activity_.idle_for(options_.quiet);
}

void Sender::run() {
  constexpr auto kLongestPause = std::chrono::milliseconds(5000);
  auto pause = std::chrono::milliseconds(100);
  while (!worker_.stopping()) {
    if (!opportune()) {
      worker_.sleep(std::chrono::milliseconds(50));
      continue;
    }
    auto sent = send_next();
    std::unique_lock lock(mutex_);
    const auto before = std::exchange(status_.last_error, sent ? "" : sent.error().to_string());
    const bool told = before == status_.last_error;
    if (!sent && !is_away(sent.error())) fatal_ = sent.error();
    progressed_.notify_all();
    lock.unlock();
    if (!sent) {
      if (!told) log_warning("sending a batch: {}", sent.error().to_string());
      worker_.sleep(pause);
      pause = std::min(pause * 2, kLongestPause);
    } else {
      pause = std::chrono::milliseconds(100);
      if (!*sent) worker_.wait();  // the log is empty; what is put into it is offered
    }
  }
}

Result<bool> Sender::send_next() {
  std::lock_guard one_at_a_time(sending_);
  RS_TRY(auto next, log_.next());
  std::unique_lock lock(mutex_);
  if (!next) {
    oldest_since_.reset();
    return false;
  }
  auto ordinal = next->batch.ordinal;
  auto* cut = cuts_.count(ordinal) != 0 ? cuts_[ordinal].get() : nullptr;  // only this thread erases
  lock.unlock();
  std::unique_ptr<profile::ContentSource> reopened;
  if (cut == nullptr) {
    RS_TRY(reopened,
           snapshots_.open_content({next->frozen_path, next->batch.snapshot}, next->batch, next->locators));
  }
  auto context = "batch " + std::to_string(ordinal);
  auto sent_before = link_.bytes_sent();
  refused_ = 0;
  auto reply = link_.commit(session_secret_, next->batch, cut != nullptr ? cut->content() : *reopened);
  const bool over_quota = !reply && event_in(reply.error().to_string()) == id_of(Event::over_quota);
  if (over_quota) {
    refused_ = ordinal;
    if (!refused_since_) refused_since_ = Activity::Clock::now();
  } else {
    refused_since_.reset();
  }
  {
    std::lock_guard note(mutex_);
    status_.over_quota = over_quota;
  }
  if (!reply) return fail(std::move(reply).error().with(context));
  // Who waits for the log to be empty reads the counters next: they are not seen before these are right.
  lock.lock();
  RS_CHECK(log_.acknowledge(reply->ordinal));
  cuts_.erase(cuts_.begin(), cuts_.upper_bound(reply->ordinal));
  ++status_.batches;
  status_.records += next->batch.records.size();
  status_.content_bytes += next->batch.content_bytes();
  status_.sent_bytes += link_.bytes_sent() - sent_before;
  status_.last_version = reply->version;
  status_.forked = reply->forked;
  oldest_since_ = Activity::Clock::now();
  fatal_.reset();
  return true;
}

Result<void> Sender::drain(std::chrono::milliseconds patience) {
  auto until = Activity::Clock::now() + patience;
  std::unique_lock lock(mutex_);
  ++urgent_;
  fatal_.reset();
  worker_.ring();
  Result<void> done;
  for (;;) {
    lock.unlock();
    auto waiting = log_.pending();
    lock.lock();
    if (!waiting) {
      done = fail(waiting.error());
      break;
    }
    if (*waiting == 0) break;
    if (fatal_) {
      done = fail(*fatal_);
      break;
    }
    if (Activity::Clock::now() >= until) {
      done = fail(ErrorCode::timeout, std::to_string(*waiting) + " batches are not sent yet" +
                                          (status_.last_error.empty() ? "" : ": " + status_.last_error));
      break;
    }
    progressed_.wait_for(lock, std::chrono::milliseconds(100));
  }
  --urgent_;
  return done;
}

Result<bool> Sender::when_empty(const std::function<Result<void>()>& work) {
  std::lock_guard one_at_a_time(sending_);
  RS_TRY(auto waiting, log_.pending());
  if (waiting != 0) return false;
  RS_CHECK(work());
  return true;
}

Result<bool> Sender::withdraw_refused(std::chrono::milliseconds not_before) {
  std::lock_guard one_at_a_time(sending_);
  if (refused_ == 0 || !refused_since_ || Activity::Clock::now() - *refused_since_ < not_before) return false;
  RS_TRY(auto next, log_.next());
  if (!next || next->batch.ordinal != refused_) return false;
  RS_TRY(bool withdrawn, log_.withdraw());
  if (!withdrawn) return false;
  refused_ = 0;
  refused_since_.reset();
  std::lock_guard lock(mutex_);
  cuts_.clear();
  fatal_.reset();
  return true;
}

Result<SenderStatus> Sender::status() {
  RS_TRY(auto waiting, log_.pending());
  std::lock_guard lock(mutex_);
  auto copy = status_;
  copy.waiting = waiting;
  return copy;
}

}  // namespace roamstead::agent
