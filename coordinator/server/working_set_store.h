// The working sets of profiles: a small file for each in `<state>/working-sets`. Not in the repository: a
// version is what the user has, this is only how to hurry; losing it costs one slow log-in. Not in state.db
// either: it changes with every session, and nothing else depends on it.
//
// File: "RSWSET01", then cereal's encoding of the items, each with how many sessions ago it was last touched,
// then CRC-32C of everything before. What cannot be read is as if it were not there.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/os/file.h"
#include "common/wire/working_set.h"
#include "coordinator/repository/repository.h"

namespace roamstead::server {

// Thread-safe.
class WorkingSetStore {
 public:
  // Made when missing.
  static Result<std::unique_ptr<WorkingSetStore>> open(os::FileSystem& files, std::string directory);

  // Empty when nothing is known.
  std::vector<wire::WorkingItem> find(const repository::ProfileId& profile) const;
  // What one session touched first, in order. What earlier ones did comes after it, and is forgotten when it
  // was not touched for kKeepSessions. ErrorCode::invalid_argument as check_working_set.
  Result<void> learn(const repository::ProfileId& profile, const std::vector<wire::WorkingItem>& items);

  static constexpr std::uint8_t kKeepSessions = 4;

 private:
  struct Kept;
  WorkingSetStore(os::FileSystem& files, std::string directory)
      : files_(files), directory_(std::move(directory)) {}
  std::string path_of(const repository::ProfileId& profile) const;
  std::vector<Kept> load(const repository::ProfileId& profile) const;

  os::FileSystem& files_;
  const std::string directory_;
  std::mutex learn_mutex_;  // one at a time
};

}  // namespace roamstead::server
