// Desktops that are saved from their host while they run: their disks are frozen by the hypervisor, what
// changed is extracted here and committed as the session's next batch.
//
// One snapshot of a session goes like this. quiet(): the desktop holds programs; its disk is frozen. held():
// it held them until it had the answer; only then anything is made of the frozen layer. Worker: extraction
// against the layer that the session was saved from last, commit, a push; then layers are merged. What is
// between the two calls is in memory only: after a crash the next snapshot shows what that one would have
// shown.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <optional>
#include <thread>

#include "common/base/fault.h"
#include "coordinator/server/extractor_table.h"
#include "coordinator/server/host_machine.h"
#include "coordinator/server/session_table.h"
#include "coordinator/server/snapshot_port.h"

namespace roamstead::server {

// Thread-safe.
class HostSnapshots final : public SnapshotPort {
 public:
  static constexpr std::size_t kWorkers = 4;
  // So many snapshots that came to nothing, one after the other, before their layers are merged.
  static constexpr std::size_t kMostGivenUp = 8;

  // All must outlive it.
  HostSnapshots(SessionTable& sessions, const compose::PoolStore& pools, ExtractorTable& extractors,
                Faults faults);
  ~HostSnapshots() override;  // what is being committed is finished

  Result<wire::SnapshotOffer> offer(const std::string& desktop,
                                    const wire::SnapshotOfferRequest& request) override;
  Result<wire::FrozenReply> quiet(const std::string& desktop, const wire::QuietRequest& request) override;
  Result<wire::SnapshotState> held(const std::string& desktop, const wire::HeldRequest& request) override;

  // While one lives, nothing is done to that desktop's disk here.
  class Use;
  class Shut;
  // Waits for what is being done.
  std::unique_ptr<Shut> shut(const std::string& desktop);

 private:
  using Clock = std::chrono::steady_clock;
  struct Snapshot {
    Guid token, incarnation;
    HostMachine::Frozen layer;
    std::uint64_t ordinal = 0;
    bool ended = false, confirmed = false;
    std::string provenance_path;
    wire::SnapshotState state;
  };
  struct Entry {  // of a session
    SessionRow row;
    Clock::duration interval{};  // 0: on request only
    std::optional<Clock::time_point> due;
    Clock::time_point known_until{};  // unless the desktop says again that it wants snapshots
    bool freezing = false;
    std::shared_ptr<Snapshot> snapshot;  // the last one; null: none
    std::size_t frozen_layers = 0;
    std::size_t given_up = 0;  // snapshots that were not confirmed, since layers were merged
  };
  struct Job {
    Guid session;
    std::shared_ptr<Snapshot> snapshot;  // null: layers are merged, nothing else
    std::shared_ptr<HostMachine> machine;
    std::unique_ptr<Use> use;
  };

  Result<std::unique_ptr<Use>> use(const std::string& desktop);
  Result<std::shared_ptr<HostMachine>> machine_of(const std::string& desktop);
  void say_what_is_due();
  void work();
  void save(Job& job);
  Result<wire::SnapshotState> extract_and_commit(const Job& job);
  void tidy(const Job& job);

  SessionTable& sessions_;
  const compose::PoolStore& pools_;
  ExtractorTable& extractors_;
  Faults faults_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool over_ = false;
  std::map<Guid, Entry> entries_;
  std::map<std::string, std::shared_ptr<HostMachine>> machines_;
  std::map<std::string, std::size_t> uses_, shut_;  // by desktop
  std::deque<Job> jobs_;
  std::vector<std::thread> threads_;  // last: they use the others
};

class HostSnapshots::Use {
 public:
  Use(HostSnapshots& owner, std::string desktop) : owner_(owner), desktop_(std::move(desktop)) {}
  ~Use();
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  HostSnapshots& owner_;
  const std::string desktop_;
};

class HostSnapshots::Shut {
 public:
  Shut(HostSnapshots& owner, std::string desktop) : owner_(owner), desktop_(std::move(desktop)) {}
  ~Shut();
  Shut(const Shut&) = delete;
  Shut& operator=(const Shut&) = delete;

 private:
  HostSnapshots& owner_;
  const std::string desktop_;
};

}  // namespace roamstead::server
