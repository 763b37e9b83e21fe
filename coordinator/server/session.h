// One session as the coordinator sees it: who has it, and how far each of its incarnations has committed.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/wire/coordinator_link.h"
#include "coordinator/server/state_store.h"

namespace roamstead::server {

// The batches of one incarnation, in a line: each applies to the version that the one before became.
struct Incarnation {
  IncarnationRow row;
  struct Committed {
    std::uint64_t version = 0;
    bool forked = false;  // beside the head line, and not merged into it
    // As it came to the head line: the version itself, or the one that merged it.
    std::uint64_t on_head = 0;
    bool to_merge = false;  // made to be merged, and not yet
    Guid snapshot{};        // the layer it was cut from
  };
  std::map<std::uint64_t, Committed> by_ordinal;  // only batches that became versions
  Guid snapshot;                                  // of the last batch

  std::uint64_t last_ordinal() const;
  // What the next batch applies to.
  std::uint64_t tip() const {
    return by_ordinal.empty() ? row.base_version : by_ordinal.rbegin()->second.version;
  }
  // The batch that was refused last, as it would make the profile exceed its quota: known by its bytes.
  struct Refused {
    std::uint64_t ordinal = 0;
    std::uint64_t batch_bytes = 0, content_bytes = 0;  // 0, 0: it came in another way than by the network
    std::uint64_t growth = 0;
  };
  std::optional<Refused> refused = {};
  bool forked() const { return !by_ordinal.empty() && by_ordinal.rbegin()->second.forked; }
  // What a durable batch became: for one that made no version, that of the batch before it.
  Committed at(std::uint64_t ordinal) const;
  // What the batch of a durable number is known to be cut from; zero: that is not known.
  Guid snapshot_of(std::uint64_t ordinal) const;
};

// A machine that is set back while its session goes on gives the same numbers to other batches. These, and
// what follows them, are kept beside the others as an incarnation of their own, whose name follows from the
// one that the machine goes on to use; and so on, should it be set back again.
Guid after_set_back(const Guid& incarnation);

// Another desktop wants the profile, and the one that has it was asked to send what it has.
struct HandOver {
  using Clock = std::chrono::steady_clock;
  std::string to;              // the desktop that asked first
  Clock::time_point deadline;  // then the session is superseded all the same
  std::vector<std::function<void()>> waiting;
};

struct Session {
  using Clock = std::chrono::steady_clock;
  static_assert(Clock::is_steady, "leases must not break when the system's clock is set");

  // Held while a batch is committed or the session changes hands; taken before the table's mutex.
  std::timed_mutex commit_mutex;
  // Guarded by commit_mutex:
  std::vector<Incarnation> incarnations;  // the last is the current one

  SessionRow row;  // never changed once made, but for state and ended_100ns, which the table's mutex guards
  // Guarded by the table's mutex:
  Clock::time_point lease_until;
  std::shared_ptr<const repository::Tree> tree;  // pinned; shared with reads under way; null until first used
  std::optional<HandOver> hand_over;
  // As its desktop said last; after a restart of the coordinator in use, until the desktop says it again.
  wire::SessionUse use = wire::SessionUse::in_use;
  std::atomic<bool> over_quota{false};  // its last batch was refused for it
  bool vanished = false;                // no connection and no lease: noted once, until it is heard of again

  Incarnation* find(const Guid& incarnation);
  Incarnation& current() { return incarnations.back(); }
  // The version that the session as a whole has come to, and the layer it was cut from (zero: nothing
  // committed).
  std::uint64_t tip() const;
  Guid last_snapshot() const;
  // All layers that a batch is known to be cut from: of those that made no version, the last of each
  // incarnation.
  std::set<Guid> snapshots() const;
  // What the session's content had become with the batch that was cut from that layer, which is one of
  // snapshots(); zero: what it began with.
  std::uint64_t version_of(const Guid& snapshot) const;
};

// From what the state store keeps and what the repository holds of it, which is the truth.
Result<std::shared_ptr<Session>> restore_session(const SessionRow& row, const StateStore& store,
                                                 const repository::Repository& repository);

}  // namespace roamstead::server
