// What is being done to pools and clones at this moment, so that no two jobs make and take away the same
// disks. In memory only: a job that a crash ended is over.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "common/base/result.h"

namespace roamstead::compose {

// A right to change a pool, or one clone of it; given back when it is destroyed. Moveable.
class RunningJob;

// Thread-safe. Must outlive the jobs begun with it.
class RunningJobs {
 public:
  // The whole pool: alone with it. ErrorCode::busy, saying what runs, while anything else does.
  // `what` is for that message: "pool create".
  Result<RunningJob> begin(const std::string& pool, const std::string& what);
  // One clone: beside jobs on the pool's other clones.
  Result<RunningJob> begin_clone(const std::string& pool, const std::string& clone, const std::string& what);

 private:
  friend class RunningJob;
  struct OfPool {
    std::string whole;                          // what is done to the whole pool; "" nothing
    std::map<std::string, std::string> clones;  // what is done to which, by name in capitals
  };
  void end(const std::string& pool, const std::string& clone);

  std::mutex mutex_;
  std::map<std::string, OfPool> pools_;
};

class RunningJob {
 public:
  RunningJob(RunningJob&& other) noexcept;
  RunningJob& operator=(RunningJob&&) = delete;
  ~RunningJob();

  const std::string& pool() const { return pool_; }

 private:
  friend class RunningJobs;
  RunningJob(RunningJobs& jobs, std::string pool, std::string clone)
      : jobs_(&jobs), pool_(std::move(pool)), clone_(std::move(clone)) {}

  RunningJobs* jobs_;  // null: moved from
  std::string pool_;
  std::string clone_;  // "" the whole pool
};

}  // namespace roamstead::compose
