// One user's session on this desktop, from log-in to log-out: opened or resumed at the coordinator, the
// profile's root published on the volume, loading, snapshots and sending under way.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "agent/core/fill.h"
#include "agent/core/hive_file_port.h"
#include "agent/core/preload.h"
#include "agent/core/prewarmed_link.h"
#include "agent/core/registry_loader.h"
#include "agent/core/ruled_link.h"
#include "agent/core/saver.h"
#include "agent/core/settler.h"
#include "agent/core/snapshot_provider.h"
#include "agent/core/working_set.h"

namespace roamstead::agent {

// What has become of the session at the coordinator.
enum class SessionPhase {
  open,
  reading,      // opened beside another desktop's: programs may not change the profile
  flushing,     // wanted elsewhere: what there is is being sent
  handed_over,  // everything was sent, the profile is open elsewhere or may be; programs may not change it
  superseded,   // handed over without us: what was not sent becomes a fork; programs may not change it
};
std::string_view to_string(SessionPhase phase);

struct SessionConfig {
  std::string profile;                               // SID or name
  std::string profile_root;                          // on the volume: "Users/alice"
  std::string agent_root = "ProgramData/Roamstead";  // on the volume: journal and staging
  std::string change_log_path;
  bool replace_leftovers =
      false;  // what lies at profile_root may go although no session of ours answers for it
  std::chrono::milliseconds snapshot_interval{60'000};  // 0: only on request
  std::uint64_t fill_bytes_per_second = 0;              // 0: no limit
  std::shared_ptr<LoadPort> load;                       // null: filling never pauses for load
  // How long what programs touch counts as what the user's log-ins need first; 0: nothing is learnt.
  std::chrono::milliseconds learn_for{60'000};
  LoaderOptions loader;
  SenderOptions sender;
  // How keys reach the hives that programs use, and how they are saved, given a source of paths in the
  // staging directory; none: hive files on the volume are all there is.
  std::function<std::unique_ptr<RegistryPort>(std::function<std::string()> new_staging_path)> registry_port;
  // How long a log-in waits for what rules want loaded before programs run.
  std::chrono::milliseconds preload_patience{30'000};
  // Opened ahead of a log-on: until take_into_use() nobody uses the session, and it goes without being asked
  // twice to whoever wants the profile elsewhere.
  bool ahead = false;
  // What the coordinator says that is no session's; called on a thread of the session, only to take note.
  std::function<void(const wire::Push&)> on_push;
  // The coordinator wants the user logged out; called on a thread of the session, only to take note.
  std::function<void(const wire::Push&)> on_close_wanted;
};

struct LogoutReport {
  std::uint64_t records = 0;  // of the whole session, as far as this process sent them
  std::uint64_t batches = 0;
  std::uint64_t content_bytes = 0;
  std::uint64_t final_records = 0;  // of them, in the last snapshot
  std::uint64_t saving_bytes = 0;   // over the network, to save: batches and the log-out itself
  std::uint64_t sent_bytes = 0, received_bytes = 0;  // over the network, requests for loading included
  std::uint64_t version = 0;                         // that the profile has now
  bool forked = false;
  std::size_t frozen_layers = 0;
  double seconds = 0;
  // Of it, one after the other: ending what goes on in the background; the snapshot, within it the
  // extraction; sending and committing; closing here and there.
  double quiet_seconds = 0, snapshot_seconds = 0, extract_seconds = 0, send_seconds = 0, close_seconds = 0;
};

struct SessionStatus {
  changelog::SessionFacts facts;
  bool resumed = false;
  SessionPhase phase = SessionPhase::open;
  wire::SessionUse use = wire::SessionUse::in_use;
  double login_seconds = 0;
  std::size_t rules = 0;  // how many
  std::string rules_hash;
  PreloadReport preloaded;
  SenderStatus sender;
  FillProgress fill;
  std::uint64_t prefetched = 0, to_prefetch = 0;  // items of the working set
  std::uint64_t to_settle = 0;                    // things programs were shown that are not on the volume yet
  std::uint64_t directories_populated = 0, items_published = 0, fetches = 0, fetched_bytes = 0;
  RegistryProgress registry;
  std::uint64_t snapshots = 0;
  std::uint64_t sent_bytes = 0, received_bytes = 0;
  std::size_t frozen_layers = 0;
  std::string last_error;  // of snapshots, tag flushes and renewals; empty when the last ones succeeded
};

// Thread-safe, except start(), logout() and close_unused(), which are called once. Destroying a session that
// is not logged out leaves it to be resumed.
class Session {
 public:
  // Link, volume and snapshots must outlive the session. Errors say why a session cannot begin: a former one
  // that is not sent yet and cannot be resumed, a profile not assigned to this desktop, no coordinator.
  // `log`: the change log, where it is open already.
  static Result<std::unique_ptr<Session>> start(const SessionConfig& config, wire::CoordinatorLink& link,
                                                ProfileVolume& volume, SnapshotProvider& snapshots,
                                                Faults faults = {},
                                                std::unique_ptr<changelog::ChangeLog> log = nullptr);
  // Gets a desktop on which nobody is logged in ready for start(), which works without it too.
  static Result<void> prepare(const SessionConfig& config, wire::CoordinatorLink& link, ProfileVolume& volume,
                              SnapshotProvider& snapshots, changelog::ChangeLog& log);
  ~Session();

  Loader& loader() { return *loader_; }
  Fill& fill() { return *fill_; }
  RegistryLoader& registry() { return *registry_; }
  // What roams in this session, and when it is loaded: the same from log-in to log-out.
  const profile::Rules& rules() const { return rules_; }
  // A key of a hive, named by its path or its file's name, and all below it; ErrorCode::not_found when the
  // profile has no such hive.
  Result<void> load_key(const std::string& hive, const std::string& key);
  const SessionConfig& config() const { return config_; }
  // A program looked into a key of the profile's: learnt, for the next log-in.
  void note_key(const profile::ProfilePath& hive, const profile::KeyPath& key) { learner_.key(hive, key); }
  // From now on, instead of what the session was configured with; 0: on request only.
  void set_snapshot_interval(std::chrono::milliseconds interval);
  // Programs changed something: the next interval is worth a snapshot.
  void note_change() { changed_ = true; }

  // Of a session opened ahead of a log-on. Loads what the log-on needs first: the roots of the hives, the
  // profile's top level, the folders (and as far as time allows the rest) of the working set; all of it is
  // durable then, and the coordinator is told. Returns early, without that, once somebody logs on or
  // stop_getting_ready() is called. ErrorCode::timeout.
  Result<void> get_ready(std::chrono::milliseconds patience);
  void stop_getting_ready() { not_ready_any_more_ = true; }
  // Somebody logs on. Asks the coordinator only where the lease may have run out. ErrorCode::stale: the
  // session is lost to another desktop, and is to be closed; start another.
  Result<void> take_into_use();
  // Nobody logged on. Nothing is saved: nobody changed anything. The coordinator is told if it can be.
  Result<void> close_unused();
  wire::SessionUse use() const { return use_; }
  SessionPhase phase() const { return phase_; }

  // Takes a snapshot; with `committed`, returns when its batch (and all before) is durable at the
  // coordinator.
  Result<SnapshotResult> snapshot(bool committed, std::chrono::milliseconds patience);
  Result<SessionStatus> status();  // reads the disk's layers
  std::uint64_t snapshots_taken() const { return snapshots_taken_; }
  // After interception has ended: last snapshot, send everything, close. On failure the session stays open,
  // to be tried again or resumed.
  Result<LogoutReport> logout(std::chrono::milliseconds patience);

 private:
  Session(const SessionConfig& config, wire::CoordinatorLink& link, ProfileVolume& volume)
      : config_(config), link_(link), volume_(volume), snapshot_interval_(config.snapshot_interval) {}
  Result<void> start_registry();
  void start_threads();
  void stop_threads();
  void keep_house();
  void sweep();
  void take_snapshots();
  void note_error(const Result<void>& result);
  void hear(const wire::Push& push);  // on the link's thread
  void answer_pushes();
  void hand_over(const wire::Push& push);
  Result<void> flush_and_hand_over(std::chrono::milliseconds patience);
  void note_superseded();
  void tell_what_was_learnt();
  void renew_lease();
  Result<void> load_first(Activity::Clock::time_point until);
  bool hand_over_unused();

  const SessionConfig config_;
  wire::CoordinatorLink& link_;
  ProfileVolume& volume_;
  std::unique_ptr<changelog::ChangeLog> log_;
  std::unique_ptr<extract::ProvenanceJournal> journal_;
  changelog::SessionFacts facts_;  // as opened; never changes
  bool resumed_ = false;
  std::chrono::seconds renew_every_{60};
  double login_seconds_ = 0;
  profile::Rules rules_;  // never changes once the session has begun
  PreloadReport preloaded_;

  WorkingSetLearner learner_;
  std::unique_ptr<PrewarmedLink> prewarmed_;  // null: nothing of use was on the disk
  std::unique_ptr<RuledLink> ruled_;          // null: without rules
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<RegistryPort> registry_port_;
  std::unique_ptr<RegistryLoader> registry_;
  std::unique_ptr<Saver> saver_;
  std::unique_ptr<Fill> fill_;
  std::unique_ptr<Settler> settler_;
  std::unique_ptr<Prefetch> prefetch_;

  std::atomic<bool> changed_{false};
  std::atomic<std::uint64_t> snapshots_taken_{0};
  std::mutex error_mutex_;
  std::string last_error_;
  Worker housekeeper_;  // tags, lease
  Worker sweeper_;      // layers and trash of the session before: minutes, perhaps, for which no lease waits
  Worker snapshotter_;  // interval snapshots
  std::atomic<std::chrono::milliseconds> snapshot_interval_{};
  std::atomic<bool> interval_changed_{false};  // it was rung for that
  std::atomic<SessionPhase> phase_{SessionPhase::open};
  std::mutex use_mutex_;  // a log-on and a hand-over at the same time
  std::atomic<wire::SessionUse> use_{wire::SessionUse::in_use};
  std::atomic<bool> not_ready_any_more_{false};
  std::vector<profile::ProfilePath> first_directories_;  // of the working set
  std::atomic<Activity::Clock::rep> renewed_{0};         // when the coordinator last answered
  std::atomic<bool> renewal_failed_{false};              // the last one, or it is just tried again
  std::mutex pushes_mutex_;
  std::deque<wire::Push> pushes_;  // to be answered
  Worker answerer_;
};

}  // namespace roamstead::agent
