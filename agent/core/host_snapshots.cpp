#include "agent/core/host_snapshots.h"

#include <thread>

#include "agent/core/patience.h"
#include "agent/core/worker.h"
#include "common/base/log.h"
#include "common/changelog/change_log.h"
#include "common/wire/message.h"

namespace roamstead::agent {
namespace {

using Clock = Activity::Clock;
using std::chrono::milliseconds;
using wire::SnapshotState;

constexpr milliseconds kAskAgain{500};              // how far a snapshot is; a push comes sooner
constexpr milliseconds kTryAgain{100};              // before a snapshot is tried once more
constexpr milliseconds kOneAnswer{10'000};          // for each question
constexpr milliseconds kIntervalPatience{600'000};  // until one that was due is durable
constexpr milliseconds kIntervalAway{20'000};       // then the next one will show it

milliseconds left_until(Clock::time_point end) {
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(end - Clock::now()));
}

// One snapshot after it is frozen.
class Confirmed {
 public:
  Confirmed(wire::SnapshotLink& link, const wire::QuietRequest& asked, const wire::FrozenReply& frozen)
      : link_(link), request_{asked.session_secret, asked.incarnation, asked.token,
                              frozen.snapshot,      frozen.ordinal,    true} {}

  // Until it is known what became of it. `pause` waits before it is asked again; false: nobody wants to know
  // any more. A coordinator that is away is waited for at most for `away`.
  template <class Pause>
  Result<SnapshotState> outcome(Clock::time_point end, milliseconds away, const Pause& pause) {
    auto heard = Clock::now();
    for (;;) {
      auto state = link_.held(request_, std::min(kOneAnswer, std::max(left_until(end), kTryAgain)));
      const auto now = Clock::now();
      if (state || state.error().code == ErrorCode::busy) heard = now;
      if (!state && !is_away(state.error())) return state;
      if (state && state->kind != SnapshotState::Kind::working) return check(std::move(*state));
      if (now >= end || now - heard >= away || !pause(kAskAgain))
        return fail(ErrorCode::timeout, "the coordinator has not yet saved snapshot " +
                                            std::to_string(request_.ordinal) +
                                            (state ? "" : ": " + state.error().to_string()));
    }
  }

 private:
  Result<SnapshotState> check(SnapshotState state) const {
    if (state.kind == SnapshotState::Kind::saved) return state;
    if (state.kind == SnapshotState::Kind::unknown)
      return fail(ErrorCode::busy, "the coordinator does not know snapshot " +
                                       std::to_string(request_.ordinal) + " (was it started again?)");
    return fail(wire::to_error({state.code, state.message})
                    .with("the coordinator could not save snapshot " + std::to_string(request_.ordinal)));
  }

  wire::SnapshotLink& link_;
  const wire::HeldRequest request_;
};

class HostSaver final : public Saver {
 public:
  HostSaver(const SaverParts& parts, wire::SnapshotLink& link, HostSnapshots::Options options)
      : parts_(parts), link_(link), options_(options) {}
  ~HostSaver() override { stop(); }

  // From here on the coordinator says when snapshots are due; where it cannot be told now, renew() tells it.
  void start() override {
    teller_.start([this] {
      if (auto told = renew(); !told) log_warning("snapshots by the host: {}", told.error().to_string());
    });
  }
  void stop() override {
    {
      std::lock_guard lock(state_mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    teller_.stop();
  }
  bool is_told_when() const override { return true; }
  Result<SnapshotResult> take(SnapshotKind kind, milliseconds patience) override;
  // take() returned when it was durable.
  Result<void> drain(milliseconds) override { return {}; }
  Result<std::size_t> tidy() override { return frozen_layers(); }
  Result<std::size_t> frozen_layers() override {
    std::lock_guard lock(state_mutex_);
    return frozen_layers_;
  }
  Result<SenderStatus> status() override {
    std::lock_guard lock(state_mutex_);
    return status_;
  }
  Result<void> renew() override {
    const auto told = link_.snapshot_offer(parts_.session_secret);
    // A batch is just being committed: the lease is renewed all the same.
    if (!told && told.error().code != ErrorCode::busy) return fail(told.error());
    return {};
  }
  void note(const wire::Push& push) override {
    if (push.kind != wire::PushKind::snapshot_done) return;
    std::lock_guard lock(state_mutex_);
    known_ = true;
    changed_.notify_all();
  }

 private:
  Result<void> take_once(SnapshotKind kind, Clock::time_point end, SnapshotResult& result);
  Result<wire::FrozenReply> freeze(SnapshotKind kind, const wire::QuietRequest& request,
                                   Clock::time_point end, double& hold_seconds);
  void note_outcome(const SnapshotState& state, SnapshotResult& result);
  bool pause(milliseconds time) {
    std::unique_lock lock(state_mutex_);
    changed_.wait_for(lock, time, [&] { return known_ || stopping_; });
    known_ = false;
    return !stopping_;
  }

  const SaverParts parts_;
  wire::SnapshotLink& link_;
  const HostSnapshots::Options options_;
  std::mutex mutex_;  // one snapshot at a time
  std::mutex state_mutex_;
  std::condition_variable changed_;
  bool known_ = false;  // something became of the snapshot under way
  bool stopping_ = false;
  SenderStatus status_;
  std::size_t frozen_layers_ = 0;
  Worker teller_;  // a log-in does not wait for it
};

Result<SnapshotResult> HostSaver::take(SnapshotKind kind, milliseconds patience) {
  std::lock_guard lock(mutex_);
  const auto start = Clock::now();
  const auto end = start + (kind == SnapshotKind::interval ? kIntervalPatience : patience);
  SnapshotResult result;
  for (;;) {
    auto taken = take_once(kind, end, result);
    {
      std::lock_guard state(state_mutex_);
      status_.last_error = taken ? "" : taken.error().to_string();
    }
    if (taken) break;
    const bool worth = taken.error().code == ErrorCode::busy || is_away(taken.error());
    if (kind == SnapshotKind::interval && taken.error().code == ErrorCode::busy) return SnapshotResult();
    if (!worth || kind == SnapshotKind::interval || Clock::now() >= end || !pause(kTryAgain))
      return fail(std::move(taken).error().with("snapshot by the host"));
  }
  result.taken = true;
  result.seconds = Activity::seconds_since(start);
  return result;
}

Result<void> HostSaver::take_once(SnapshotKind kind, Clock::time_point end, SnapshotResult& result) {
  RS_TRY(const auto facts, parts_.log.session());
  if (!facts) return fail(ErrorCode::internal, "a snapshot without a session");
  const wire::QuietRequest request{
      parts_.session_secret, facts->incarnation,          Guid::random(),
      facts->last_cut,       kind == SnapshotKind::final, options_.provenance_path};
  RS_TRY(const auto frozen, freeze(kind, request, end, result.hold_seconds));
  // Before the coordinator may commit it.
  RS_CHECK(parts_.log.note_ordinal(frozen.ordinal));
  RS_TRY(const auto state, Confirmed(link_, request, frozen)
                               .outcome(end, kind == SnapshotKind::interval ? kIntervalAway : left_until(end),
                                        [this](milliseconds time) { return pause(time); }));
  RS_CHECK(parts_.log.note_cut(frozen.snapshot));
  result.ordinal = state.records == 0 && state.held_back == 0 ? 0 : frozen.ordinal;
  note_outcome(state, result);
  return {};
}

// The answer comes while programs are held, or not at all.
Result<wire::FrozenReply> HostSaver::freeze(SnapshotKind kind, const wire::QuietRequest& request,
                                            Clock::time_point end, double& hold_seconds) {
  auto frozen = while_quiet(parts_, hold_seconds, [&] {
    auto answer = link_.quiet(request, std::min(options_.hold_at_most, std::max(left_until(end), kTryAgain)));
    if (answer && kind == SnapshotKind::hand_over) parts_.loader.gate().refuse_programs(true);
    return answer;
  });
  if (!frozen && frozen.error().code != ErrorCode::busy && is_away(frozen.error())) {
    log_warning("programs were let go after {:.1f} s without a snapshot: {}", hold_seconds,
                frozen.error().to_string());
    // So that it is not kept for us; a coordinator that does not hear this drops it with the next one.
    (void)link_.held({request.session_secret, request.incarnation, request.token, {}, 0, false}, kTryAgain);
  }
  return frozen;
}

void HostSaver::note_outcome(const SnapshotState& state, SnapshotResult& result) {
  result.records = state.records;
  result.content_bytes = state.content_bytes;
  result.held_back = state.held_back;
  result.extract_seconds = state.extract_ms / 1e3;
  if (state.held_back != 0)
    log_warning("{} items are not saved; the coordinator's log has their session", state.held_back);
  std::lock_guard lock(state_mutex_);
  frozen_layers_ = state.frozen_layers;
  if (result.ordinal == 0) return;
  ++status_.batches;
  status_.records += state.records;
  status_.content_bytes += state.content_bytes;
  status_.last_version = state.version;
  status_.forked = state.forked;
}

}  // namespace

Result<void> HostSnapshots::check() {
  return link_.snapshot_offer({}).map([](const auto&) {});
}

std::unique_ptr<Saver> HostSnapshots::saver(const SaverParts& parts) {
  return std::make_unique<HostSaver>(parts, link_, options_);
}

Result<void> HostSnapshots::save_rest(const changelog::SessionFacts& facts, changelog::ChangeLog& log,
                                      wire::CoordinatorLink&) {
  constexpr milliseconds kPatience{300'000};
  RS_TRY(const auto waiting, log.pending());
  if (waiting != 0)
    return fail(ErrorCode::unsupported,
                std::to_string(waiting) +
                    " batches wait that were cut from layers the agent could read: let it save in the "
                    "former way once more");
  const auto end = Clock::now() + kPatience;
  for (;;) {
    const wire::QuietRequest request{
        facts.session_secret,    facts.incarnation, Guid::random(), facts.last_cut, true,
        options_.provenance_path};
    auto saved = [&]() -> Result<void> {
      RS_TRY(const auto frozen, link_.quiet(request, options_.hold_at_most));
      RS_CHECK(log.note_ordinal(frozen.ordinal));
      RS_TRY(const auto state,
             Confirmed(link_, request, frozen).outcome(end, kPatience, [](milliseconds time) {
               std::this_thread::sleep_for(time);
               return true;
             }));
      if (state.records != 0)
        log_info("{} records were not saved: version {}{}", state.records, state.version,
                 state.forked ? ", a fork" : "");
      return log.note_cut(frozen.snapshot);
    }();
    if (saved || saved.error().code != ErrorCode::busy || Clock::now() >= end) return saved;
    std::this_thread::sleep_for(kTryAgain);
  }
}

}  // namespace roamstead::agent
