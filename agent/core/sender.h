// Sends the change log's batches in order, at opportune moments but with a bounded lag.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>

#include "agent/core/activity.h"
#include "agent/core/snapshot_port.h"
#include "agent/core/worker.h"
#include "common/changelog/change_log.h"
#include "common/wire/coordinator_link.h"

namespace roamstead::agent {

struct SenderOptions {
  std::chrono::milliseconds max_lag{30'000};  // after which a batch goes even though programs wait for loads
  std::chrono::milliseconds quiet{200};       // without foreground loads: an opportune moment
};

struct SenderStatus {
  std::uint64_t batches = 0;  // acknowledged by the coordinator to this process
  std::uint64_t records = 0;
  std::uint64_t content_bytes = 0;
  std::uint64_t sent_bytes = 0;  // over the network while batches were sent (loads at the same time included)
  std::uint64_t waiting = 0;
  std::uint64_t last_version = 0;
  bool forked = false;
  bool over_quota = false;  // what waits goes beyond the profile's quota
  std::string last_error;   // empty when the last attempt succeeded
};

// Thread-safe.
class Sender {
 public:
  Sender(wire::CoordinatorLink& link, Guid session_secret, changelog::ChangeLog& log, SnapshotPort& snapshots,
         Activity& activity, SenderOptions options);
  ~Sender() { stop(); }

  void start();
  void stop() { worker_.stop(); }
  // A batch just queued under `ordinal`, with its content at hand.
  void offer(std::uint64_t ordinal, std::unique_ptr<Cut> cut);
  // Sends everything now, without waiting for a quiet moment, and waits for it at most `patience`.
  Result<void> drain(std::chrono::milliseconds patience);
  // Runs `work` when no batch waits, hence nothing reads frozen layers; otherwise does nothing and says
  // false.
  Result<bool> when_empty(const std::function<Result<void>()>& work);
  // Takes what waits back out of the change log when the coordinator's last answer was that it goes beyond
  // the profile's quota: what is cut next holds it, and what was deleted since no more. False: nothing was
  // done.
  Result<bool> withdraw_refused(std::chrono::milliseconds not_before);
  Result<SenderStatus> status();

 private:
  void run();
  // Sends the oldest batch; false when there is none.
  Result<bool> send_next();
  bool opportune() const;

  wire::CoordinatorLink& link_;
  const Guid session_secret_;
  changelog::ChangeLog& log_;
  SnapshotPort& snapshots_;
  Activity& activity_;
  const SenderOptions options_;

  std::mutex sending_;  // held while a batch is read and sent; before mutex_
  mutable std::mutex mutex_;
  std::condition_variable progressed_;
  std::map<std::uint64_t, std::unique_ptr<Cut>> cuts_;
  std::optional<Activity::Clock::time_point> oldest_since_;
  int urgent_ = 0;
  SenderStatus status_;
  std::optional<Error> fatal_;  // trying again cannot help
  // Guarded by sending_: the batch that was refused for the quota, if that was the last word on it.
  std::uint64_t refused_ = 0;
  std::optional<Activity::Clock::time_point> refused_since_;
  Worker worker_;
};

}  // namespace roamstead::agent
