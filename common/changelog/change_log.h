// The agent's durable queue of batches, and what it must remember of its session to resume after a crash.
//
// Each call is one transaction: after a crash it happened wholly or not at all, and what returned success is
// there. Content is not copied: a queued batch names the frozen layer its bytes lie in. Thread-safe. One
// process at a time (ErrorCode::busy). Format: docs/format-changelog.md.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/base/fault.h"
#include "common/base/guid.h"
#include "common/os/file.h"
#include "common/profile/batch.h"

namespace roamstead::changelog {

struct SessionFacts {
  Guid session;  // public id
  Guid session_secret;
  Guid incarnation;
  std::string profile;
  std::string profile_root;           // on the volume
  std::uint64_t version = 0;          // pinned
  std::uint64_t highest_ordinal = 0;  // of this incarnation, cut so far
  Guid last_cut;     // frozen layer the last snapshot made: the next delta begins there; zero: none yet
  bool open = true;  // false once everything was sent and the session closed

  bool operator==(const SessionFacts&) const = default;
};

struct QueuedBatch {
  profile::Batch batch;  // incarnation and ordinal as to be sent
  std::string
      frozen_path;  // layer the content is read from; may have been renamed since: `batch.snapshot` is its id
  Bytes locators;   // where in it; opaque, from extraction

  bool operator==(const QueuedBatch&) const = default;
};

struct Limits {
  std::uint64_t batches = 1024;        // unacknowledged
  std::uint64_t bytes = 512ull << 20;  // encoded, unacknowledged
};

class ChangeLog {
 public:
  // Makes the file when missing. ErrorCode::corrupt names the file and what is wrong.
  static Result<std::unique_ptr<ChangeLog>> open(os::FileSystem& files, const std::string& path,
                                                 Faults faults = {}, Limits limits = {});
  virtual ~ChangeLog() = default;

  // The last session begun, open or closed.
  virtual Result<std::optional<SessionFacts>> session() = 0;
  // Forgets the one before; ErrorCode::busy when that one has unacknowledged batches.
  virtual Result<void> begin_session(const SessionFacts& facts) = 0;
  // A resumed session goes on under `incarnation`: batches up to `committed_ordinal` are acknowledged, the
  // rest numbered anew from 1.
  virtual Result<void> resume_session(const Guid& incarnation, std::uint64_t committed_ordinal) = 0;
  // Queues a batch, giving it the session's incarnation and next ordinal, which it returns. The next delta
  // begins at batch.snapshot. ErrorCode::full when a limit is reached.
  virtual Result<std::uint64_t> append(const QueuedBatch& batch) = 0;
  // A snapshot without any change: the next delta begins at `snapshot`, nothing is queued.
  virtual Result<void> note_cut(const Guid& snapshot) = 0;
  // A snapshot that the host made may have become the batch of that ordinal: from then on it counts as cut,
  // though nothing is queued here. A lower ordinal than the highest changes nothing.
  virtual Result<void> note_ordinal(std::uint64_t ordinal) = 0;
  // The oldest unacknowledged batch.
  virtual Result<std::optional<QueuedBatch>> next() = 0;
  virtual Result<std::uint64_t> pending() = 0;
  // All batches up to `ordinal` of the present incarnation are durable at the coordinator; they leave the
  // queue.
  virtual Result<void> acknowledge(std::uint64_t ordinal) = 0;
  // Takes all waiting batches back, as if they had never been cut: the next delta begins where the oldest of
  // them began, and gets its ordinal. Only for what the coordinator has surely not committed. False, and
  // nothing done: none waits, or an agent that did not note where it began queued it.
  virtual Result<bool> withdraw() = 0;
  // ErrorCode::busy while batches wait.
  virtual Result<void> close_session() = 0;
};

}  // namespace roamstead::changelog
