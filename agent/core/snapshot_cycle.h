// Quiesce, freeze, extract, queue: one snapshot after the other.
#pragma once

#include <atomic>
#include <mutex>

#include "agent/core/loader.h"
#include "agent/core/registry_port.h"
#include "agent/core/sender.h"
#include "agent/core/snapshot_port.h"
#include "common/changelog/change_log.h"

namespace roamstead::agent {

struct SnapshotResult {
  bool taken = false;         // false: put off, because two frozen layers wait to be sent
  std::uint64_t ordinal = 0;  // 0: nothing had changed
  std::uint64_t records = 0;
  std::uint64_t content_bytes = 0;
  std::uint64_t held_back = 0;
  double hold_seconds = 0;     // how long programs were held
  double extract_seconds = 0;  // finding out what changed
  double seconds = 0;
};

enum class SnapshotKind {
  interval,  // put off when sending lags
  explicit_request,
  hand_over,  // programs may not change the profile after it
  final,      // at log-out: nothing follows
};

// Thread-safe: snapshots take their turn.
class SnapshotCycle {
 public:
  static constexpr std::size_t kMostFrozenLayers = 2;

  SnapshotCycle(Loader& loader, RegistryPort& registry, ProfileVolume& volume, SnapshotPort& snapshots,
                changelog::ChangeLog& log, Sender& sender)
      : loader_(loader),
        registry_(registry),
        volume_(volume),
        snapshots_(snapshots),
        log_(log),
        sender_(sender) {}

  Result<SnapshotResult> take(SnapshotKind kind, std::chrono::milliseconds patience);
  // Merges what is acknowledged, when nothing waits to be sent. Returns frozen layers left.
  Result<std::size_t> tidy();

 private:
  Result<bool> make_room(SnapshotKind kind, std::chrono::milliseconds patience);
  Result<FrozenLayer> freeze(SnapshotKind kind, double& hold_seconds);
  Result<std::size_t> tidy_locked();

  Loader& loader_;
  RegistryPort& registry_;
  ProfileVolume& volume_;
  SnapshotPort& snapshots_;
  changelog::ChangeLog& log_;
  Sender& sender_;
  std::mutex mutex_;
};

}  // namespace roamstead::agent
