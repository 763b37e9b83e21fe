// Saving a running desktop from snapshots that its host makes: what the agent asks of the coordinator, which
// freezes the machine's disk and extracts it (docs/protocol.md).
//
// The agent holds programs, says that it is quiet, and lets go when it is told that the disk is frozen. Only
// when it confirms that it held until then is the snapshot looked at: a freeze that came too late is none.
#pragma once

#include <chrono>
#include <string>

#include "common/base/guid.h"
#include "common/base/result.h"

namespace roamstead::wire {

struct SnapshotOfferRequest {
  Guid session_secret;  // zero: only asks

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret);
  }
};

struct SnapshotOffer {
  std::uint32_t interval_ms = 0;  // between snapshots that the coordinator says are due; 0: on request only

  template <class Archive>
  void serialize(Archive& archive) {
    archive(interval_ms);
  }
};

struct QuietRequest {
  Guid session_secret;
  Guid incarnation;
  Guid token;          // of this snapshot, made up by the agent
  Guid below;          // of a session that is no longer the profile's: the layer that it was cut from last
  bool ended = false;  // nothing follows
  std::string provenance_path;  // of the session's journal, on Windows' volume

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, incarnation, token, below, ended, provenance_path);
  }
};

struct FrozenReply {
  std::uint64_t ordinal = 0;  // of the batch that is made of it
  Guid snapshot;              // the frozen layer's id

  template <class Archive>
  void serialize(Archive& archive) {
    archive(ordinal, snapshot);
  }
};

// Confirms a snapshot, and asks how far it is; to be repeated.
struct HeldRequest {
  Guid session_secret;
  Guid incarnation;
  Guid token;
  Guid snapshot;
  std::uint64_t ordinal = 0;
  bool held = true;  // false: programs went on before the answer came; nothing is made of it

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, incarnation, token, snapshot, ordinal, held);
  }
};

struct SnapshotState {
  enum class Kind : std::uint8_t {
    unknown = 0,  // and not durable: the next snapshot shows what this one would have shown
    working = 1,
    saved = 2,   // durable
    failed = 3,  // `code` and `message` say why; the next one covers it
  };
  Kind kind = Kind::unknown;
  std::uint64_t version = 0;  // that the batch became
  bool forked = false;
  std::uint64_t records = 0, content_bytes = 0, held_back = 0;
  std::uint32_t extract_ms = 0;
  std::uint32_t frozen_layers = 0;  // of the machine's disk
  std::string code, message;        // as in a Failure

  template <class Archive>
  void serialize(Archive& archive) {
    archive(kind, version, forked, records, content_bytes, held_back, extract_ms, frozen_layers, code,
            message);
  }
};
inline constexpr std::size_t kMaxProvenancePath = 4096;
inline constexpr SnapshotState::Kind kLastSnapshotStateKind = SnapshotState::Kind::failed;

// Thread-safe; calls block, each at most for `within`.
class SnapshotLink {
 public:
  virtual ~SnapshotLink() = default;

  // Whether the coordinator makes snapshots of this desktop: ErrorCode::unsupported, saying what is missing.
  // With a session's secret it says when they are due from then on, for as long as a lease lasts; the lease
  // is renewed.
  virtual Result<SnapshotOffer> snapshot_offer(const Guid& session_secret) = 0;
  // Freezes this desktop's disk, which is quiet as long as this call lasts. ErrorCode::busy while another
  // snapshot of it is worked on.
  virtual Result<FrozenReply> quiet(const QuietRequest& request, std::chrono::milliseconds within) = 0;
  virtual Result<SnapshotState> held(const HeldRequest& request, std::chrono::milliseconds within) = 0;
};

}  // namespace roamstead::wire
