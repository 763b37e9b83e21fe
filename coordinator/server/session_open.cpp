// Opening: who gets a profile, when several want it.
#include <algorithm>
#include <condition_variable>

#include "common/base/event.h"
#include "common/base/file_time.h"
#include "coordinator/audit/audit_log.h"
#include "coordinator/server/session_table.h"

namespace roamstead::server {
namespace {

constexpr std::size_t kMaxProfileName = 1024;  // as the keystore has it
constexpr std::size_t kMaxRootBytes = 3 * 32767;
// A commit under way is over in a moment, mostly.
constexpr std::chrono::milliseconds kCommitPause{20};

// All 128 bits random: a version-4 GUID would fix six of them.
Guid random_128_bits() {
  Guid value;
  fill_random(value.bytes);
  return value;
}

std::string describe_holder(const SessionRow& row, double lease_seconds) {
  return "profile '" + row.profile_name + "' is open on desktop '" + row.desktop + "' (session " +
         row.id.to_string() + "); its lease ends in " + std::to_string(static_cast<long>(lease_seconds) + 1) +
         " s unless renewed";
}

}  // namespace

Result<wire::OpenReply> SessionTable::open(const std::string& desktop, const wire::OpenRequest& request) {
  struct Bell {  // shared with sessions that may ring it after this call has ended
    std::mutex mutex;
    std::condition_variable changed;
    bool rung = false;
  };
  auto bell = std::make_shared<Bell>();
  const auto wake = [bell] {
    std::lock_guard lock(bell->mutex);
    bell->rung = true;
    bell->changed.notify_all();
  };
  OpenAttempt attempt;
  for (;;) {
    RS_TRY(auto step, try_open(desktop, request, attempt, wake));
    if (step.reply) return std::move(*step.reply);
    std::unique_lock lock(bell->mutex);
    bell->changed.wait_for(lock, step.ask_again, [&] { return bell->rung; });
    bell->rung = false;
  }
}

Result<repository::ProfileInfo> SessionTable::find_assigned(const std::string& desktop,
                                                            const std::string& name) {
  auto profile = repository_.find_profile(name);
  if (!profile && profile.error().code != ErrorCode::not_found) return profile;
  bool assigned = false;
  if (profile) {
    RS_TRY(assigned, store_.is_assigned(desktop, profile->id, now_100ns()));
  }
  if (assigned) return profile;
  // The same answer whether or not there is such a profile.
  log_event(Event::profile_denied, "desktop '{}' asked for profile '{}', which is not assigned to it: denied",
            desktop, name);
  return fail(ErrorCode::denied, "profile '" + name + "' is not assigned to desktop '" + desktop + "'");
}

Result<OpenStep> SessionTable::try_open(const std::string& desktop, const wire::OpenRequest& request,
                                        OpenAttempt& attempt, const std::function<void()>& wake) {
  auto step = open_step(desktop, request, attempt, wake);
  if (options_.audit == nullptr || (step && !step->reply)) return step;
  audit::Record record{request.resume ? "session.resume" : "session.open",
                       "desktop " + desktop,
                       "profile " + request.profile.substr(0, kMaxProfileName),
                       audit::Outcome::done,
                       "",
                       {}};
  if (step) {
    record.fields = {{"session", step->reply->session.to_string()},
                     {"version", std::to_string(step->reply->version)},
                     {"may_save", step->reply->may_save ? "true" : "false"}};
  } else {
    record.outcome = audit::Outcome::refused;
    record.reason = step.error().to_string();
  }
  options_.audit->append(std::move(record));
  return step;
}

Result<OpenStep> SessionTable::open_step(const std::string& desktop, const wire::OpenRequest& request,
                                         OpenAttempt& attempt, const std::function<void()>& wake) {
  if (request.profile.size() > kMaxProfileName || request.profile_root.size() > kMaxRootBytes)
    return fail(ErrorCode::protocol, "open: too long a name or root of a profile");
  if (request.use > wire::kLastSessionUse) return fail(ErrorCode::protocol, "open: for an unknown use");
  RS_TRY(const auto inside, openings_.enter(desktop));
  RS_TRY(auto profile, find_assigned(desktop, request.profile));
  forget_old_sessions();
  if (request.resume) return resume(desktop, *request.resume, request.use, attempt);
  return open_fresh(desktop, request, profile, attempt, wake);
}

Result<std::uint64_t> SessionTable::next_epoch(const repository::ProfileId& profile) {
  RS_TRY(auto epoch, store_.epoch(profile));
  {
    std::lock_guard guard(mutex_);
    if (epochs_compared_.count(profile) != 0) return epoch + 1;
  }
  // The repository remembers epochs too: a state directory that was lost, or is of yesterday, must not make
  // them start again.
  RS_TRY(auto versions, repository_.versions(profile));
  for (const auto& version : versions) epoch = std::max(epoch, version.epoch);
  return epoch + 1;
}

std::mutex& SessionTable::open_mutex(const repository::ProfileId& profile) {
  return open_mutexes_[static_cast<std::size_t>(profile.bytes[0]) % open_mutexes_.size()];
}

Result<std::unique_lock<std::timed_mutex>> SessionTable::try_lock(Session& session, OpenAttempt& attempt) {
  std::unique_lock lock(session.commit_mutex, std::try_to_lock);
  auto now = Session::Clock::now();
  if (lock) {
    attempt.blocked_since.reset();
  } else if (!attempt.blocked_since) {
    attempt.blocked_since = now;
  } else if (now - *attempt.blocked_since >= hand_over_wait_.load()) {
    return fail(ErrorCode::busy,
                "a batch of session " + session.row.id.to_string() + " is just being committed; try again");
  }
  return lock;
}

Result<OpenStep> SessionTable::open_fresh(const std::string& desktop, const wire::OpenRequest& request,
                                          const repository::ProfileInfo& profile, OpenAttempt& attempt,
                                          const std::function<void()>& wake) {
  for (;;) {
    auto there = active_of(profile.id);
    // A desktop that opens what it has open itself has lost its state: it need not wait for itself. Nor does
    // anybody wait for a lease that has run out.
    Sessions ended, holders, unused;
    double lease_left = 0;
    {
      std::lock_guard guard(mutex_);
      for (const auto& session : there) {
        auto left = std::chrono::duration<double>(session->lease_until - options_.now()).count();
        bool protects = left > 0 && session->row.desktop != desktop;
        if (!protects)
          ended.push_back(session);
        else if (session->use != wire::SessionUse::in_use)
          unused.push_back(session);
        else if (session->row.mode != SessionMode::reader)
          holders.push_back(session), lease_left = std::max(lease_left, left);
      }
    }
    if (!holders.empty() && request.use != wire::SessionUse::in_use)
      return fail(ErrorCode::busy, describe_holder(holders.front()->row, lease_left));
    // What was opened ahead of a log-on is given up for whoever wants the profile, whatever the policy.
    if (!unused.empty()) {
      if (auto wait = ask_to_flush(unused, desktop, wake)) return OpenStep{{}, *wait};
      ended.insert(ended.end(), unused.begin(), unused.end());
    }
    auto mode = SessionMode::exclusive;
    if (!holders.empty()) {
      switch (options_.policy_of(desktop)) {
        case SessionPolicy::refuse:
          return fail(ErrorCode::busy, describe_holder(holders.front()->row, lease_left));
        case SessionPolicy::read_only:
          mode = SessionMode::reader;
          break;
        case SessionPolicy::concurrent:
          mode = SessionMode::concurrent;
          break;
        case SessionPolicy::takeover:
          if (auto wait = ask_to_flush(holders, desktop, wake)) return OpenStep{{}, *wait};
          ended.insert(ended.end(), holders.begin(), holders.end());
      }
    }
    std::vector<std::unique_lock<std::timed_mutex>> locks;
    for (const auto& session : ended) {
      RS_TRY(auto lock, try_lock(*session, attempt));
      if (!lock) return OpenStep{{}, kCommitPause};
      locks.push_back(std::move(lock));
    }
    std::vector<wire::WorkingItem> working_set;
    if (working_sets_) working_set = working_sets_->find(profile.id);
    std::string rules;
    if (options_.rules_of) {
      RS_TRY_CTX(rules, "rules of profile '" + profile.name + "'", options_.rules_of(desktop, profile.id));
    }
    // Only now, so that nobody who opens another profile waits for this one's holders.
    std::lock_guard guard(open_mutex(profile.id));
    if (active_of(profile.id) != there) continue;
    RS_TRY(auto reply, begin_session(desktop, request, profile, mode, ended));
    reply.working_set = std::move(working_set);
    reply.rules = std::move(rules);
    return OpenStep{std::move(reply), {}};
  }
}

// The profile's open mutex and the commit_mutex of each of `ended` are held.
Result<wire::OpenReply> SessionTable::begin_session(const std::string& desktop,
                                                    const wire::OpenRequest& request,
                                                    const repository::ProfileInfo& profile, SessionMode mode,
                                                    const Sessions& ended) {
  // One goes in the same transaction that begins the new one; more are there only after concurrent ones.
  for (std::size_t i = 1; i < ended.size(); ++i) RS_CHECK(end(*ended[i], SessionState::superseded));
  auto secret = random_128_bits();
  auto session = std::make_shared<Session>();
  // Looked up again: a previous holder may have moved the head until its lock was taken.
  RS_TRY(auto fresh, repository_.find_profile(request.profile));
  RS_TRY(auto epoch, next_epoch(profile.id));
  if (mode == SessionMode::reader) --epoch;  // it takes nothing from who has the profile
  session->row = {Guid::random(),       digest_of(secret),    desktop, profile.id,
                  profile.name,         request.profile_root, epoch,   fresh.head,
                  SessionState::active, now_100ns(),          0,       mode};
  IncarnationRow first{random_128_bits(), 1, fresh.head, 0, {}};
  session->incarnations.push_back({first, {}, {}});
  auto former = ended.empty() ? nullptr : ended.front();
  RS_CHECK(store_.begin_session(session->row, first, former ? std::optional(former->row.id) : std::nullopt));
  std::vector<std::function<void()>> waiting;
  bool in_time = true;
  {
    std::lock_guard guard(mutex_);
    if (former) {
      in_time = !former->hand_over;
      waiting = note_end(*former, SessionState::superseded, session->row.opened_100ns);
    }
    session->lease_until = options_.now() + lease_.load();
    session->use = request.use;
    by_digest_[session->row.secret_digest] = session;
    digests_[session->row.id] = session->row.secret_digest;
    active_[profile.id].push_back(session);
    epochs_compared_.insert(profile.id);  // the store has it now
  }
  for (const auto& wake : waiting) wake();
  if (!in_time) {
    record_end(*former, "session.hand_over", "not in time for desktop " + desktop);
    log_event(Event::handed_over_late,
              "session {}: desktop '{}' did not hand '{}' over in time; what it sends now becomes a fork",
              former->row.id.to_string(), former->row.desktop, profile.name);
  } else if (former) {
    log_info("profile '{}' handed over from desktop '{}' to '{}', epoch {}", profile.name,
             former->row.desktop, desktop, epoch);
  }
  log_info("session {}: desktop '{}' opened '{}' at version {}{}", session->row.id.to_string(), desktop,
           profile.name, fresh.head,
           mode == SessionMode::reader       ? ", for reading"
           : mode == SessionMode::concurrent ? ", beside others"
                                             : "");
  return reply_for(*session, secret);
}

// A desktop may come back with the incarnation it was given last, or, when it never learnt of that one, the
// one before. Anything else, and anything that knows of fewer batches than are durable, is a state from the
// past.
Result<OpenStep> SessionTable::resume(const std::string& desktop, const wire::ResumeInfo& resume,
                                      wire::SessionUse use, OpenAttempt& attempt) {
  RS_TRY(auto session, authorise(desktop, resume.session_secret));
  RS_TRY(auto lock, try_lock(*session, attempt));
  if (!lock) return OpenStep{{}, kCommitPause};
  // A desktop notes that its session is closed before it says so here: one that does not know it was set
  // back.
  if (state_of(*session) == SessionState::closed) {
    log_event(Event::machine_reverted,
              "session {}: desktop '{}' came back in a state from before it logged out (a reverted machine?)",
              session->row.id.to_string(), desktop);
    return fail(ErrorCode::stale, "the desktop is in an earlier state: its session was logged out since");
  }
  RS_CHECK(check_active(*session));  // it may have ended meanwhile
  auto& known = session->incarnations;
  auto position = static_cast<std::size_t>(
      std::find_if(known.begin(), known.end(),
                   [&](const Incarnation& each) { return each.row.incarnation == resume.incarnation; }) -
      known.begin());
  bool later_unused =
      std::all_of(known.begin() + static_cast<std::ptrdiff_t>(std::min(position + 1, known.size())),
                  known.end(), [](const Incarnation& later) { return later.last_ordinal() == 0; });
  const bool set_back = session->find(after_set_back(resume.incarnation)) != nullptr;
  if (position == known.size() || !later_unused || set_back ||
      resume.highest_ordinal < known[position].last_ordinal()) {
    RS_CHECK(end(*session, SessionState::superseded));
    log_event(Event::machine_reverted,
              "session {}: desktop '{}' came back in an earlier state (a reverted machine?): superseded",
              session->row.id.to_string(), desktop);
    return fail(ErrorCode::stale,
                "the desktop is in an earlier state than its last saved batch; its session is superseded");
  }
  auto committed = known[position].last_ordinal();
  auto base = known[position].tip();
  bool base_forked = known[position].forked();
  IncarnationRow fresh{random_128_bits(), known.back().row.sequence + 1, base, 0, {}};
  RS_CHECK(store_.add_incarnation(session->row.id, fresh));
  known.push_back({fresh, {}, {}});
  {
    std::lock_guard guard(mutex_);
    session->use = use;
  }
  log_info("session {}: desktop '{}' resumed after batch {}{}", session->row.id.to_string(), desktop,
           committed, base_forked ? " on a fork" : "");
  RS_TRY(auto reply, reply_for(*session, resume.session_secret));
  reply.committed_ordinal = committed;
  return OpenStep{std::move(reply), {}};
}

Result<wire::OpenReply> SessionTable::reply_for(Session& session, const Guid& secret) {
  RS_TRY(auto tree, tree_of(session));
  wire::OpenReply reply;
  reply.session = session.row.id;
  reply.session_secret = secret;
  reply.incarnation = session.current().row.incarnation;
  reply.epoch = session.row.epoch;
  reply.version = session.row.version;
  RS_TRY(reply.root, tree->lookup({}));
  reply.lease_seconds = static_cast<std::uint32_t>(lease_.load().count());
  reply.may_save = session.row.mode != SessionMode::reader;
  return reply;
}

}  // namespace roamstead::server
