// What an agent asks of its coordinator. common/wire's client implements it over TLS; tests may implement it
// in process on a real repository. Calls block, are thread-safe, and end within the link's timeout.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/guid.h"
#include "common/profile/batch.h"
#include "common/profile/entry.h"
#include "common/profile/registry.h"
#include "common/settings/sent_settings.h"

namespace roamstead::wire {

struct ResumeInfo {
  Guid session_secret;
  Guid incarnation;
  std::uint64_t highest_ordinal = 0;  // cut so far, sent or not

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session_secret, incarnation, highest_ordinal);
  }
};

// What a session is used for just now, as its desktop says.
enum class SessionUse : std::uint8_t {
  in_use = 0,     // somebody is logged on
  preparing = 1,  // opened ahead of a log-on: nobody uses it
  ready = 2,      // likewise, and what the log-on needs first is durable on the desktop
};
inline constexpr SessionUse kLastSessionUse = SessionUse::ready;
constexpr const char* to_string(SessionUse use) {
  return use == SessionUse::in_use ? "in use" : use == SessionUse::preparing ? "preparing" : "ready";
}

struct OpenRequest {
  std::string profile;       // SID or name the profile was imported under
  std::string profile_root;  // where this desktop keeps it ("Users/alice")
  std::optional<ResumeInfo> resume;
  // Ahead of a log-on a profile is not taken from who uses it elsewhere: ErrorCode::busy.
  SessionUse use = SessionUse::in_use;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(profile, profile_root, resume, use);
  }
};

// One thing to fetch at once at log-in, because former log-ins did: a folder's list, a file from its start,
// or a key of the hive at `path` with what is below it if that is little.
struct WorkingItem {
  enum class Kind : std::uint8_t { directory = 0, file = 1, key = 2 };
  Kind kind = Kind::directory;
  std::string path;
  std::string key;

  bool operator==(const WorkingItem&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(kind, path, key);
  }
};

struct OpenReply {
  Guid session;         // public id
  Guid session_secret;  // needed for every later call
  Guid incarnation;     // fresh at every open and resume
  std::uint64_t epoch = 0;
  std::uint64_t version = 0;  // pinned: all fetches read this version
  std::uint64_t committed_ordinal =
      0;  // of the *previous* incarnation, on resume: batches up to it are durable
  profile::Entry root;
  std::uint32_t lease_seconds = 0;
  bool may_save = true;  // false: the profile is open elsewhere; batches of this session become forks
  std::vector<WorkingItem> working_set;  // to fetch first, in this order
  // What roams, and when it is loaded (common/profile/rules.h), in canonical form; "": everything. Those of a
  // new session hold until it ends; the answer to a resume has none.
  std::string rules;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(session, session_secret, incarnation, epoch, version, committed_ordinal, root, lease_seconds,
            may_save, working_set, rules);
  }
};

struct DirectoryPart {
  std::vector<profile::NamedEntry> entries;  // in compare_names order
  bool more = false;                         // ask again after the last name

  template <class Archive>
  void serialize(Archive& archive) {
    archive(entries, more);
  }
};

struct CommitReply {
  std::uint64_t ordinal = 0;  // durable now, as is every lower one
  std::uint64_t version = 0;  // that it became (the same as before when the batch changed nothing)
  bool forked = false;        // kept beside the head, not on it

  template <class Archive>
  void serialize(Archive& archive) {
    archive(ordinal, version, forked);
  }
};

inline constexpr std::size_t kMaxReadBytes = 1 << 20;

// Many small things in one answer.
struct FetchItem {
  profile::ProfilePath path;
  bool directory = false;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(path, directory);
  }
};

struct Fetched {
  // absent: not there, or not of the kind asked for, or it could not be read: whoever wants it asks by itself
  enum class Kind : std::uint8_t { absent = 0, directory = 1, file = 2 };
  Kind kind = Kind::absent;
  DirectoryPart part;  // a directory's first part
  std::uint64_t size_bytes = 0;
  Bytes content;  // a file's first min(size_bytes, kFetchFileBytes)

  template <class Archive>
  void serialize(Archive& archive) {
    archive(kind, part, size_bytes, content);
  }
};

inline constexpr std::size_t kMostFetchItems = 512;
inline constexpr std::size_t kFetchFileBytes = 256u << 10;
inline constexpr std::size_t kFetchReplyBytes = 768u << 10;  // nothing is added to an answer of so many bytes

enum class PushKind : std::uint8_t {
  // The profile is wanted elsewhere: snapshot, send, hand_over, within the deadline. After it the session is
  // superseded.
  flush = 0,
  // `profile` is about to be opened on this desktop.
  prepare = 1,
  // The session is to be logged out, by an administrator's wish, within the deadline.
  close = 2,
  // What the desktop was told of its sessions may have changed.
  policy_changed = 3,
  // A snapshot by the host is due for the session, if anything has changed in it (snapshot_link.h).
  snapshot_due = 4,
  // What became of the session's last snapshot is known: ask.
  snapshot_done = 5,
  // `settings` are what the agent is to be set to from now on, all of them (TlsLinkOptions::on_settings).
  settings = 6,
};
inline constexpr PushKind kLastPushKind = PushKind::settings;

// What a coordinator says unasked. May come more than once, and late; may be lost with its connection.
struct Push {
  PushKind kind = PushKind::flush;
  Guid session;                   // public id; zero where none is meant
  std::uint32_t deadline_ms = 0;  // from now on; 0: none
  std::string profile;            // its name
  std::string text;               // why, for logs and people
  settings::SentSettings settings{};

  bool operator==(const Push&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(kind, session, deadline_ms, profile, text, settings);
  }
};

class CoordinatorLink {
 public:
  virtual ~CoordinatorLink() = default;

  virtual Result<OpenReply> open(const OpenRequest& request) = 0;
  // By path in the pinned version.
  virtual Result<DirectoryPart> list(const Guid& session_secret, const profile::ProfilePath& path,
                                     const std::string& after) = 0;
  // Up to kMaxReadBytes; fewer only at the stream's end. `stream` "" is the unnamed one.
  virtual Result<Bytes> read(const Guid& session_secret, const profile::ProfilePath& path,
                             const std::string& stream, std::uint64_t offset, std::size_t length) = 0;
  // At least the first of `items`, and as many as fit one answer, so that what a program waits for need not
  // wait behind all of them. At most kMostFetchItems.
  virtual Result<std::vector<Fetched>> fetch(const Guid& session_secret,
                                             const std::vector<FetchItem>& items) = 0;
  // What `scope` says of a key of the hive at `hive`, as the pinned version has it, part by part: `cursor` is
  // "" or the `next` of the part before. A value whose data does not fit the part comes without (data.size()
  // < size_bytes, though it is inline): read_value has it.
  virtual Result<profile::KeyStates> list_keys(const Guid& session_secret, const profile::ProfilePath& hive,
                                               const profile::KeyPath& key, profile::KeyScope scope,
                                               const std::string& cursor) = 0;
  // Exactly `length` bytes of a value's data, at most kMaxReadBytes; ErrorCode::invalid_argument beyond its
  // end.
  virtual Result<Bytes> read_value(const Guid& session_secret, const profile::ProfilePath& hive,
                                   const profile::KeyPath& key, const std::string& value,
                                   std::uint64_t offset, std::size_t length) = 0;
  // Returns when the batch is durable. Sending a batch again (same incarnation and ordinal) is answered, not
  // repeated.
  virtual Result<CommitReply> commit(const Guid& session_secret, const profile::Batch& batch,
                                     profile::ContentSource& content) = 0;
  virtual Result<void> renew(const Guid& session_secret) = 0;
  // Renews the lease, and says what the session is used for now.
  virtual Result<void> tell_use(const Guid& session_secret, SessionUse use) = 0;
  virtual Result<void> close(const Guid& session_secret) = 0;
  // Everything that this session has to send is sent: whoever waits for the profile may have it. The session
  // is superseded; what it sends later becomes a fork.
  virtual Result<void> hand_over(const Guid& session_secret) = 0;
  // What programs touched first in the session (working_set.h): sent ahead at the user's next log-in.
  virtual Result<void> learned(const Guid& session_secret, const std::vector<WorkingItem>& items) = 0;
  // Called with what the coordinator says unasked, for all its sessions, on a thread of the link that must
  // not be kept; may call no method of the link. Null: nobody listens. Once this returns, the listener before
  // is called no more. Pushes reach a desktop only while it has a connection; any call makes one.
  virtual void set_push_listener(std::function<void(const Push&)> listener) = 0;
  // Bytes that went over the network so far.
  virtual std::uint64_t bytes_sent() const = 0;
  virtual std::uint64_t bytes_received() const = 0;
};

}  // namespace roamstead::wire
