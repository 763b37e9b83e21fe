// Who takes the snapshots that a session is saved from, and who brings what changed to the coordinator: the
// agent itself where it can read its disk's layers (SnapshotPort), or the coordinator on the host
// (HostSnapshots).
#pragma once

#include <memory>

#include "common/base/guid.h"
#include "common/base/result.h"

namespace roamstead::changelog {
class ChangeLog;
struct SessionFacts;
}  // namespace roamstead::changelog
namespace roamstead::wire {
class CoordinatorLink;
}

namespace roamstead::agent {

class Saver;
struct SaverParts;

// Thread-safe. Outlives what it makes.
class SnapshotProvider {
 public:
  virtual ~SnapshotProvider() = default;

  // For a session that begins or goes on. Nothing is done before Saver::start().
  virtual std::unique_ptr<Saver> saver(const SaverParts& parts) = 0;
  // What a session that cannot go on has not saved becomes durable at the coordinator, and the change log
  // knows of nothing more to send. The volume is quiet: nobody uses the profile.
  virtual Result<void> save_rest(const changelog::SessionFacts& facts, changelog::ChangeLog& log,
                                 wire::CoordinatorLink& link) = 0;
  // Merges the frozen layers that a closed session left; `keep` stays visible by its id.
  virtual Result<void> tidy(const Guid& keep) = 0;
};

}  // namespace roamstead::agent
