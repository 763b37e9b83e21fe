// A desktop's machine and its disk, as the host freezes and reads them while it runs.
#pragma once

#include <memory>
#include <mutex>
#include <set>

#include "coordinator/compose/clone_layers.h"
#include "coordinator/compose/pool_job.h"

namespace roamstead::server {

// Thread-safe: freezing and merging take turns.
class HostMachine {
 public:
  // ErrorCode::unsupported, saying what is missing, for a desktop that was not made here or whose machine
  // nobody can freeze.
  static Result<std::shared_ptr<HostMachine>> find(const compose::PoolStore& pools,
                                                   const std::string& desktop);

  std::chrono::seconds interval() const { return std::chrono::seconds(spec_.vm->snapshot_seconds); }
  // The disk's path as it was made: by it extractors know it.
  const std::string& disk() const { return active_; }

  struct Frozen {
    std::string path;
    Guid id;
  };
  // A chain of more frozen layers is not made longer: beyond 64 nobody here could read it any more.
  static constexpr std::size_t kMostFrozen = 56;
  // ErrorCode::busy, at once, while layers are merged; ErrorCode::conflict when there are too many.
  Result<Frozen> freeze();
  // Of Windows, in a frozen layer.
  Result<std::uint32_t> partition(const std::string& frozen);
  // Merges frozen layers until as few as possible are left; those to keep, and the topmost that a batch was
  // cut from (saved_layer: the disk itself cannot be opened, it is in use), stay visible by their ids.
  // Returns how many there are then. Where nobody can merge they only become more.
  Result<std::size_t> tidy(std::set<Guid> keep, const std::set<Guid>& cut_from);

 private:
  HostMachine(compose::PoolSpec spec, compose::CloneRow clone)
      : spec_(std::move(spec)),
        clone_(std::move(clone)),
        active_(compose::paths_of(spec_, clone_.name).active),
        vms_(os::real_file_system(), spec_) {}

  const compose::PoolSpec spec_;
  const compose::CloneRow clone_;
  const std::string active_;
  const compose::PoolVms vms_;
  std::mutex mutex_;                   // the disk's chain, and what follows
  std::string top_;                    // as far as it is known; "": look
  std::optional<std::size_t> frozen_;  // layers; as far as it is known, at least so many
  std::optional<std::uint32_t> partition_;
};

}  // namespace roamstead::server
