// How what programs change becomes durable at the coordinator: one snapshot after the other.
#pragma once

#include <chrono>

#include "agent/core/loader.h"
#include "agent/core/registry_port.h"
#include "agent/core/sender.h"

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

// What a saver works with, of one session; all outlive it.
struct SaverParts {
  Loader& loader;
  RegistryPort& registry;
  ProfileVolume& volume;
  changelog::ChangeLog& log;
  wire::CoordinatorLink& link;
  Guid session_secret;
  SenderOptions sender;
};

// Thread-safe: snapshots take their turn.
class Saver {
 public:
  virtual ~Saver() = default;

  virtual void start() = 0;
  virtual void stop() = 0;
  // Whether the coordinator says when a snapshot is due (PushKind::snapshot_due), instead of the session.
  virtual bool is_told_when() const { return false; }
  virtual Result<SnapshotResult> take(SnapshotKind kind, std::chrono::milliseconds patience) = 0;
  // Returns when all that was taken is durable.
  virtual Result<void> drain(std::chrono::milliseconds patience) = 0;
  // Merges what is acknowledged, when nothing waits to be sent. Returns frozen layers left.
  virtual Result<std::size_t> tidy() = 0;
  virtual Result<std::size_t> frozen_layers() = 0;
  virtual Result<SenderStatus> status() = 0;
  // Whether a snapshot is due though programs changed nothing since.
  virtual bool left_something() { return false; }
  // Renews the session's lease, and what else the coordinator knows of it only for a while.
  virtual Result<void> renew() = 0;
  // What the coordinator says unasked of saving; on the link's thread, only to take note.
  virtual void note(const wire::Push&) {}
};

// Holds programs, and does `work` when all that they did before is on the disk.
template <class Work>
auto while_quiet(const SaverParts& parts, double& hold_seconds, const Work& work) -> decltype(work()) {
  RS_CHECK(parts.loader.flush_tags());  // most of the work before anybody is held
  RS_CHECK_CTX("registry", parts.registry.flush());
  Gate::Hold hold(parts.loader.gate());
  auto start = Activity::Clock::now();
  RS_CHECK(parts.loader.flush_tags());
  RS_CHECK_CTX("registry", parts.registry.flush());
  RS_CHECK(parts.volume.sync());
  auto done = work();
  hold_seconds = Activity::seconds_since(start);
  return done;
}

}  // namespace roamstead::agent
