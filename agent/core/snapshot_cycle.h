// Quiesce, freeze, extract, queue: one snapshot after the other.
#pragma once

#include <atomic>
#include <mutex>

#include "agent/core/saver.h"
#include "agent/core/snapshot_port.h"
#include "common/changelog/change_log.h"

namespace roamstead::agent {

// Thread-safe: snapshots take their turn.
class SnapshotCycle {
 public:
  static constexpr std::size_t kMostFrozenLayers = 2;

  SnapshotCycle(const SaverParts& parts, SnapshotPort& snapshots, Sender& sender)
      : parts_(parts), snapshots_(snapshots), log_(parts.log), sender_(sender) {}

  Result<SnapshotResult> take(SnapshotKind kind, std::chrono::milliseconds patience);
  // Merges what is acknowledged, when nothing waits to be sent. Returns frozen layers left.
  Result<std::size_t> tidy();

 private:
  Result<bool> make_room(SnapshotKind kind, std::chrono::milliseconds patience);
  Result<FrozenLayer> freeze(SnapshotKind kind, double& hold_seconds);
  Result<std::size_t> tidy_locked();

  const SaverParts parts_;
  SnapshotPort& snapshots_;
  changelog::ChangeLog& log_;
  Sender& sender_;
  std::mutex mutex_;
};

}  // namespace roamstead::agent
