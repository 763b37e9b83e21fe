#include "coordinator/compose/running_jobs.h"

#include <algorithm>
#include <utility>

namespace roamstead::compose {
namespace {

// Names of computers: ASCII, and the same in either case.
std::string in_capitals(std::string name) {
  for (auto& letter : name)
    if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 'a' + 'A');
  return name;
}

tl::unexpected<Error> busy(const std::string& what, const std::string& running) {
  return fail(ErrorCode::busy, what + ": '" + running + "' is running; wait for its end, then try again");
}

}  // namespace

Result<RunningJob> RunningJobs::begin(const std::string& pool, const std::string& what) {
  std::lock_guard guard(mutex_);
  auto& jobs = pools_[pool];
  if (!jobs.whole.empty()) return busy("pool '" + pool + "'", jobs.whole);
  if (!jobs.clones.empty())
    return busy("pool '" + pool + "', clone '" + jobs.clones.begin()->first + "'",
                jobs.clones.begin()->second);
  jobs.whole = what;
  return RunningJob(*this, pool, "");
}

Result<RunningJob> RunningJobs::begin_clone(const std::string& pool, const std::string& clone,
                                            const std::string& what) {
  auto key = in_capitals(clone);
  std::lock_guard guard(mutex_);
  auto& jobs = pools_[pool];
  if (!jobs.whole.empty()) return busy("pool '" + pool + "'", jobs.whole);
  const auto [at, added] = jobs.clones.emplace(key, what);
  if (!added) return busy("clone '" + clone + "'", at->second);
  return RunningJob(*this, pool, std::move(key));
}

void RunningJobs::end(const std::string& pool, const std::string& clone) {
  std::lock_guard guard(mutex_);
  const auto at = pools_.find(pool);
  if (clone.empty())
    at->second.whole.clear();
  else
    at->second.clones.erase(clone);
  if (at->second.whole.empty() && at->second.clones.empty()) pools_.erase(at);
}

RunningJob::RunningJob(RunningJob&& other) noexcept
    : jobs_(std::exchange(other.jobs_, nullptr)),
      pool_(std::move(other.pool_)),
      clone_(std::move(other.clone_)) {}

RunningJob::~RunningJob() {
  if (jobs_ != nullptr) jobs_->end(pool_, clone_);
}

}  // namespace roamstead::compose
