// The repository: immutable versions of profiles, in packs on shared storage, indexed by a catalog.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/fault.h"
#include "common/base/guid.h"
#include "common/os/file.h"
#include "common/profile/batch.h"
#include "common/profile/entry.h"

namespace roamstead::repository {

using ProfileId = Guid;

struct ProfileInfo {
  ProfileId id;
  std::string name;        // SID or login name: the key desktops ask by
  std::uint64_t head = 0;  // version number
};

enum class VersionKind : std::uint8_t {
  import = 0,
  batch = 1,
  fork = 2,        // beside the head line
  restore = 3,     // of an earlier version
  merge = 4,       // of a fork into the head
  discard = 5,     // marks its parent, a fork, as not wanted; beside the head line
  concurrent = 6,  // beside the head line, made to be merged into it at once
};
inline bool is_beside_head(VersionKind kind) {
  return kind == VersionKind::fork || kind == VersionKind::discard || kind == VersionKind::concurrent;
}

inline constexpr std::uint64_t kUnknownBytes = ~std::uint64_t{0};

struct VersionInfo {
  std::uint64_t number = 0;  // ascending within the profile, forks too
  std::uint64_t parent = 0;  // 0: none
  VersionKind kind = VersionKind::batch;
  bool on_head_line = true;  // false for forks
  std::string desktop;       // who committed it
  Guid session;              // public id
  Guid incarnation;
  std::uint64_t ordinal = 0;
  std::uint64_t epoch = 0;  // of the profile's lease
  Guid snapshot;            // frozen layer the batch was cut from
  bool final = false;
  std::uint64_t committed_100ns = 0;
  std::uint64_t records = 0;
  std::uint64_t new_bytes = 0;               // stored for it, after deduplication and compression
  std::vector<profile::HeldBack> held_back;  // of a merge: its conflicts
  std::uint64_t merged = 0;                  // of a merge: the fork that came to the head line by it
  // Of all files, streams and registry values' data in it (tree_size.h). Versions of before it was noted do
  // not have it; Repository::logical_bytes tells it of any.
  std::uint64_t logical_bytes = kUnknownBytes;
};

// Where a merge could not follow both sides.
struct MergeConflict {
  enum class Kind {
    both_changed,    // ours stayed; kept_as: where theirs is, empty if nowhere but in the fork
    deleted_ours,    // theirs changed it: there again
    deleted_theirs,  // ours changed it: still there
  };
  Kind kind = Kind::both_changed;
  std::string path;  // of a file; "HIVE\key"; "HIVE\key : value"
  std::string kept_as;

  bool operator==(const MergeConflict&) const = default;
};

std::string to_string(const MergeConflict& conflict);

// What a user is told whose changes do not fit.
std::string quota_text(const std::string& profile, std::uint64_t held, std::uint64_t more,
                       std::uint64_t quota_bytes);

struct MergeResult {
  std::optional<VersionInfo> version;  // none: only looked at
  std::uint64_t base = 0, head = 0, fork = 0;
  std::uint64_t records = 0;
  std::vector<MergeConflict> conflicts;
};

// Where a version comes from; what the commit record keeps besides the tree.
struct CommitOrigin {
  VersionKind kind = VersionKind::batch;
  std::string desktop;
  Guid session;
  std::uint64_t epoch = 0;
  // What the profile may hold; 0: anything. ErrorCode::full, with Event::over_quota, for a batch that makes
  // it hold more than this and more than before. On its way to the head line a batch's growth counts from the
  // head, of a fork from its parent. Merges and restored versions are never refused.
  std::uint64_t quota_bytes = 0;
};

// A consistent view of one version. Thread-safe; keeps nothing locked.
class Tree {
 public:
  virtual ~Tree() = default;
  virtual std::uint64_t version() const = 0;
  virtual Result<profile::Entry> lookup(const profile::ProfilePath& path) const = 0;
  // Children after name `after` ("" for the first), in compare_names order, at most `limit`.
  virtual Result<std::vector<profile::NamedEntry>> list(const profile::ProfilePath& directory,
                                                        const std::string& after,
                                                        std::size_t limit) const = 0;
  // Exactly out.size() bytes of a stream ("" is the unnamed one).
  virtual Result<void> read(const profile::ProfilePath& path, const std::string& stream, std::uint64_t offset,
                            MutableByteView out) const = 0;
  // Differences to another version of the same profile, in path order.
  enum class Change { added, removed, changed };
  virtual Result<void> diff(
      const Tree& newer,
      const std::function<void(Change, const profile::ProfilePath&, const profile::Entry&)>& visit) const = 0;

  // Keys of the hive at `hive` (an entry of kind registry): what `scope` says of `key`, in bounded parts
  // (at most about limit_bytes, or one key alone); `cursor` is "" or the `next` of the part before. A subkey
  // that is listed by its entry alone is not complete. ErrorCode::not_found names hive or key.
  virtual Result<profile::KeyStates> keys(const profile::ProfilePath& hive, const profile::KeyPath& key,
                                          profile::KeyScope scope, const std::string& cursor,
                                          std::size_t limit_bytes) const = 0;
  // Exactly out.size() bytes of a value's data.
  virtual Result<void> read_value(const profile::ProfilePath& hive, const profile::KeyPath& key,
                                  const std::string& value, std::uint64_t offset,
                                  MutableByteView out) const = 0;
  // Differences between the hive in this version and in `newer`, in path order (hashed paths after the
  // others, see hive_place.h), a key before its values; all below a key that comes or goes too. A hive that
  // one of the two versions does not have counts as without keys. A key's time alone is no difference.
  struct KeyDifference {
    Change change = Change::changed;
    profile::KeyPath key;
    // The key itself, or one of its values: what it was and what it is, null where there is none.
    const profile::KeyEntry* key_before = nullptr;
    const profile::KeyEntry* key_after = nullptr;
    const profile::RegistryValue* value_before = nullptr;
    const profile::RegistryValue* value_after = nullptr;

    bool is_value() const { return value_before != nullptr || value_after != nullptr; }
  };
  virtual Result<void> diff_keys(const Tree& newer, const profile::ProfilePath& hive,
                                 const std::function<void(const KeyDifference&)>& visit) const = 0;
};

struct Statistics {
  std::uint64_t profiles = 0, versions = 0, objects = 0, packs = 0;
  std::uint64_t pack_bytes = 0;     // on storage
  std::uint64_t logical_bytes = 0;  // of all objects before compression
};

struct CheckReport {
  std::uint64_t objects_checked = 0, versions_checked = 0;
  std::vector<std::string> problems;  // empty: clean
};

struct Options {
  std::string directory;        // shared storage: packs, keystore, repository id
  std::string state_directory;  // local: catalog
  bool read_only = false;
};

// One writer (a writer epoch) at a time; readers never write and never block it. Thread-safe.
class Repository {
 public:
  static Result<void> init(os::FileSystem& files, const Options& options);
  // Writing: takes the writer lock (ErrorCode::busy), opens a new writer epoch, finishes what a crash left.
  static Result<std::unique_ptr<Repository>> open(os::FileSystem& files, const Options& options,
                                                  Faults faults = {});
  // Makes the catalog anew from packs and keystore; the old one is set aside.
  static Result<void> rebuild_catalog(os::FileSystem& files, const Options& options);
  virtual ~Repository() = default;

  virtual Result<ProfileInfo> create_profile(const std::string& name) = 0;
  virtual Result<std::vector<ProfileInfo>> profiles() const = 0;
  virtual Result<ProfileInfo> find_profile(const std::string& name) const = 0;
  virtual Result<std::vector<VersionInfo>> versions(const ProfileId& profile) const = 0;
  virtual Result<std::unique_ptr<Tree>> tree(const ProfileId& profile, std::uint64_t version) const = 0;

  // Applies `batch` to version `parent` and makes the result durable: objects and commit record first, then
  // the catalog. On the head line `parent` must be the head (ErrorCode::stale otherwise); a fork
  // (origin.kind) leaves the head alone. A batch whose (incarnation, ordinal) is committed already returns
  // that version. A batch that changes nothing returns a version record too (so that the ordinal is known)
  // unless it is empty and not final.
  virtual Result<VersionInfo> commit(const ProfileId& profile, std::uint64_t parent,
                                     const profile::Batch& batch, profile::ContentSource& content,
                                     const CommitOrigin& origin) = 0;
  // Of a version (VersionInfo::logical_bytes); measured, once, where it was never noted. 0: no version.
  virtual Result<std::uint64_t> logical_bytes(const ProfileId& profile, std::uint64_t version) const = 0;
  // By how much a batch would make that more (less: negative). Stores nothing, reads none of its content.
  virtual Result<std::int64_t> growth(const ProfileId& profile, std::uint64_t parent,
                                      const profile::Batch& batch) const = 0;
  // Makes version `from` the content of a new head.
  virtual Result<VersionInfo> restore(const ProfileId& profile, std::uint64_t from,
                                      const CommitOrigin& origin) = 0;

  // Brings what a fork changed since it left the head line to the head (merge.h), as a new version there.
  // ErrorCode::not_found, invalid_argument or conflict as find_fork (forks.h). `dry_run` only looks.
  virtual Result<MergeResult> merge(const ProfileId& profile, std::uint64_t fork, bool dry_run,
                                    const CommitOrigin& origin) = 0;
  // Marks a fork, by any of its versions, as not wanted; errors as for merge.
  virtual Result<VersionInfo> discard(const ProfileId& profile, std::uint64_t fork,
                                      const CommitOrigin& origin) = 0;

  virtual Result<Statistics> statistics() const = 0;
  // Reads everything back: seals, ids, references, commit records against the catalog.
  virtual Result<CheckReport> check(
      const std::function<void(std::uint64_t done, std::uint64_t total)>& progress) const = 0;
};

}  // namespace roamstead::repository
