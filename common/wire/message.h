// What the frames' payloads say (docs/protocol.md). Requests carry the session's secret; the desktop is known
// from its certificate and is never said in a message.
#pragma once

#include "common/base/guid.h"
#include "common/profile/batch.h"
#include "common/wire/coordinator_link.h"
#include "common/wire/first_boot.h"
#include "common/wire/frame.h"
#include "common/wire/snapshot_link.h"

namespace roamstead::wire {

inline constexpr std::uint32_t kProtocolMagic = 0x50415352;  // "RSAP"
// 2: registry keys; 3: pushes, hand-over, sessions that may not save; 4: fetch; 5: first_boot;
// 6: rules in the answer to open; 7: snapshots made by the host, sessions opened ahead of a log-on, settings
// of agents
inline constexpr std::uint16_t kProtocolVersion = 7;
// Plain bytes of a batch that may be under way before the server has taken any, and so the most that it keeps
// in memory.
inline constexpr std::uint64_t kBatchWindowBytes = 4u << 20;
inline constexpr std::size_t kBatchPartBytes = 256u << 10;

struct Hello {
  std::uint32_t magic = kProtocolMagic;
  std::uint16_t version = kProtocolVersion;
  std::string software;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(magic, version, software);
  }
};

struct HelloReply {
  std::uint16_t version = kProtocolVersion;
  std::string desktop;  // as the coordinator knows the peer
  // Of the desktop's pool, all of them; none: not known just now, what was sent last holds.
  std::optional<settings::SentSettings> settings;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(version, desktop, settings);
  }
};

// `code` is to_string(ErrorCode).
struct Failure {
  std::string code;
  std::string message;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(code, message);
  }
};

struct ListRequest {
  Guid session_secret;
  profile::ProfilePath path;
  std::string after;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, path, after);
  }
};

struct ReadRequest {
  Guid session_secret;
  profile::ProfilePath path;
  std::string stream;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, path, stream, offset, length);
  }
};

struct FetchRequest {
  Guid session_secret;
  std::vector<FetchItem> items;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, items);
  }
};

// Of the first items asked for, in their order.
struct FetchReply {
  std::vector<Fetched> items;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(items);
  }
};

// `scope` is a KeyScope; any number may come, whoever answers checks it.
struct KeysRequest {
  Guid session_secret;
  profile::ProfilePath hive;
  profile::KeyPath key;
  std::uint8_t scope = 0;
  std::string cursor;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, hive, key, scope, cursor);
  }
};

struct ValueRequest {
  Guid session_secret;
  profile::ProfilePath hive;
  profile::KeyPath key;
  std::string value;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, hive, key, value, offset, length);
  }
};

// renew, close and hand_over
struct SessionRequest {
  Guid session_secret;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret);
  }
};

// `use` is a SessionUse; any number may come, whoever answers checks it.
struct UseRequest {
  Guid session_secret;
  std::uint8_t use = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, use);
  }
};

// What the session touched first.
struct LearnedRequest {
  Guid session_secret;
  std::vector<WorkingItem> items;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, items);
  }
};

// Announces a batch: batch_part frames with the same request id follow, their plain payloads joined being the
// encoded batch (`batch_bytes`, see batch_stream.h) and then the content of all writes in record order
// (`content_bytes`).
struct BatchBegin {
  Guid session_secret;
  Guid incarnation;
  std::uint64_t ordinal = 0;
  std::uint64_t batch_bytes = 0;
  std::uint64_t content_bytes = 0;
  Guid snapshot{};  // the batch's: tells it from another one of the same number

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, incarnation, ordinal, batch_bytes, content_bytes, snapshot);
  }
};

// The server took so many more plain bytes of the batch.
struct Credit {
  std::uint64_t bytes = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(bytes);
  }
};

// Longer texts of a Push are refused.
inline constexpr std::size_t kMaxPushText = 4096;

Failure to_failure(const Error& error);
// An unknown code becomes ErrorCode::internal.
Error to_error(const Failure& failure);

// Makes every Frame's payload a T; ErrorCode::protocol, naming `what`, when it is not.
template <class T>
Result<T> decode_message(Frame frame, const char* what);

extern template Result<Hello> decode_message(Frame, const char*);
extern template Result<HelloReply> decode_message(Frame, const char*);
extern template Result<Failure> decode_message(Frame, const char*);
extern template Result<OpenRequest> decode_message(Frame, const char*);
extern template Result<OpenReply> decode_message(Frame, const char*);
extern template Result<ListRequest> decode_message(Frame, const char*);
extern template Result<DirectoryPart> decode_message(Frame, const char*);
extern template Result<ReadRequest> decode_message(Frame, const char*);
extern template Result<FetchRequest> decode_message(Frame, const char*);
extern template Result<FetchReply> decode_message(Frame, const char*);
extern template Result<KeysRequest> decode_message(Frame, const char*);
extern template Result<profile::KeyStates> decode_message(Frame, const char*);
extern template Result<ValueRequest> decode_message(Frame, const char*);
extern template Result<SessionRequest> decode_message(Frame, const char*);
extern template Result<UseRequest> decode_message(Frame, const char*);
extern template Result<LearnedRequest> decode_message(Frame, const char*);
extern template Result<BatchBegin> decode_message(Frame, const char*);
extern template Result<Credit> decode_message(Frame, const char*);
extern template Result<CommitReply> decode_message(Frame, const char*);
extern template Result<SnapshotOfferRequest> decode_message(Frame, const char*);
extern template Result<SnapshotOffer> decode_message(Frame, const char*);
extern template Result<QuietRequest> decode_message(Frame, const char*);
extern template Result<FrozenReply> decode_message(Frame, const char*);
extern template Result<HeldRequest> decode_message(Frame, const char*);
// Also refuses an unknown kind.
Result<SnapshotState> decode_snapshot_state(Frame frame);
// ErrorCode::protocol for an answer that no coordinator gives to this request.
Result<void> check_fetched(const std::vector<FetchItem>& asked, const std::vector<Fetched>& answered);
// Also refuse what no coordinator says: an unknown kind, too long a text, too many settings.
Result<Push> decode_push(Frame frame);
Result<HelloReply> decode_hello_reply(Frame frame);

Bytes encode_message(const Hello& message);
Bytes encode_message(const HelloReply& message);
Bytes encode_message(const Failure& message);
Bytes encode_message(const OpenRequest& message);
Bytes encode_message(const OpenReply& message);
Bytes encode_message(const ListRequest& message);
Bytes encode_message(const DirectoryPart& message);
Bytes encode_message(const profile::NamedEntry& message);
Bytes encode_message(const ReadRequest& message);
Bytes encode_message(const FetchRequest& message);
Bytes encode_message(const FetchReply& message);
Bytes encode_message(const Fetched& message);
Bytes encode_message(const KeysRequest& message);
Bytes encode_message(const profile::KeyStates& message);
Bytes encode_message(const profile::KeyState& message);
Bytes encode_message(const ValueRequest& message);
Bytes encode_message(const SessionRequest& message);
Bytes encode_message(const UseRequest& message);
Bytes encode_message(const LearnedRequest& message);
Bytes encode_message(const FirstBootReport& message);
Bytes encode_message(const BatchBegin& message);
Bytes encode_message(const Credit& message);
Bytes encode_message(const CommitReply& message);
Bytes encode_message(const Push& message);
Bytes encode_message(const SnapshotOfferRequest& message);
Bytes encode_message(const SnapshotOffer& message);
Bytes encode_message(const QuietRequest& message);
Bytes encode_message(const FrozenReply& message);
Bytes encode_message(const HeldRequest& message);
Bytes encode_message(const SnapshotState& message);

}  // namespace roamstead::wire
