// Brings the profile to the desktop as it is touched: directories when first looked into, content by ranges
// when first read or written.
//
// Laws kept here (why: common/extract/provenance.h): an item is in the journal before it has its name; a
// block's tag goes there only after its bytes are flushed; who writes to a block that is not loaded loads it
// first; a shrunk stream is flushed before its new base limit is. What the version lists is never reported as
// not found: when the coordinator is away the caller waits, then gets ErrorCode::unavailable or timeout.
//
// Thread-safe. Two threads that want the same bytes fetch them once.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>

#include "agent/core/activity.h"
#include "agent/core/gate.h"
#include "agent/core/item_table.h"
#include "agent/core/placeholders.h"
#include "agent/core/preview.h"
#include "agent/core/profile_volume.h"
#include "common/extract/provenance_journal.h"
#include "common/profile/rules.h"
#include "common/wire/coordinator_link.h"

namespace roamstead::agent {

class RegistryLoader;
class WorkingSetLearner;

struct LoaderOptions {
  std::chrono::milliseconds patience{20'000};      // how long a program waits while the coordinator is away
  std::uint64_t fetch_bytes = 256 << 10;           // fetched at once, more than asked for
  std::uint64_t sequential_fetch_bytes = 1 << 20;  // where a file is read front to back
  bool preview = false;                            // programs are shown directories before they are populated
};

struct LoaderCounters {
  std::atomic<std::uint64_t> directories_populated{0};
  std::atomic<std::uint64_t> items_published{0};
  std::atomic<std::uint64_t> fetches{0};
  std::atomic<std::uint64_t> fetched_bytes{0};
};

enum class Priority {
  foreground,
  exact,  // the same, but nothing beyond what is asked for
  background,
};

class Loader {
 public:
  Loader(wire::CoordinatorLink& link, Guid session_secret, ProfileVolume& volume,
         extract::ProvenanceJournal& journal, LoaderOptions options = {});

  // Hives are published through it (otherwise as empty files); must outlive every call.
  void set_registry(RegistryLoader* registry) { registry_ = registry; }
  RegistryLoader* registry() const { return registry_; }

  // The session's; must outlive every call. Null: none.
  void set_rules(const profile::Rules* rules) { rules_ = rules; }
  const profile::Rules* rules() const { return rules_; }
  // Whether an item may be renamed, paths being the profile's. Not where other rules hold for it, unless all
  // of it is here: it would be saved without the bytes that were not loaded. Programs then copy it, as
  // between volumes.
  bool may_rename(std::uint64_t record, bool directory, std::string_view from, std::string_view to) const;

  // Told what programs touch, while it wants to know; must outlive every call.
  void set_learner(WorkingSetLearner* learner) { learner_ = learner; }

  // Whoever shows programs placeholders; must outlive every call. Null: nobody.
  void set_placeholders(Placeholders* placeholders) { placeholders_ = placeholders; }

  // Takes over what the journal says an earlier process published.
  Result<void> recover();
  // Publishes the profile's root, when the journal does not hold it yet. `before_named`: called between its
  // record's flush and its name; a failure leaves it without.
  Result<void> publish_root(const profile::Entry& entry,
                            const std::function<Result<void>()>& before_named = {});

  // Every child the version lists is there when this returns. Nothing to do for directories made here. In the
  // background small directories below come along.
  Result<void> populate(VolumeHandle& directory, Priority priority = Priority::foreground);
  // The same for every directory above a path of the profile, as far as they are there.
  Result<void> populate_above(const profile::ProfilePath& path, Priority priority);
  // The range holds what the profile has there. With Priority::exact at most wire::kMaxReadBytes.
  Result<void> load(VolumeHandle& stream, ByteRange range, Priority priority = Priority::foreground);

  // Null unless the options say so. What is shown by it is learnt here.
  Preview* preview() { return preview_.get(); }
  Result<std::shared_ptr<const PreviewList>> preview_list(const profile::ProfilePath& path);
  Result<Bytes> preview_read(const profile::ProfilePath& path, std::uint64_t size_bytes, ByteRange range);
  // Where in the version a directory comes from that is not populated yet; none for all others.
  std::optional<profile::ProfilePath> unpopulated_path(std::uint64_t record) const;

  // A program's changes.
  Result<void> write(VolumeHandle& stream, std::uint64_t offset, ByteView data);
  Result<void> truncate(VolumeHandle& stream, std::uint64_t size_bytes);
  Result<void> sync(VolumeHandle& stream);
  // The tags of all that is loaded of the item are recorded: programs may write past this object from now on,
  // to the streams that are wholly loaded.
  Result<void> record_loaded(VolumeHandle& stream);
  // A change of times, attributes or security: hydration, which puts back the times it found, waits
  // meanwhile. `created_100ns`: the creation time that the change will set, if it sets one.
  Result<void> change_metadata(VolumeHandle& handle, const std::function<Result<void>()>& change,
                               std::optional<std::uint64_t> created_100ns = std::nullopt);
  // The item was deleted for good; its record may be used again.
  void forget(std::uint64_t record) { items_.remove(record); }
  // The item may be deleted from now on without anybody saying so, and its record used again.
  void doubt(std::uint64_t record);
  // An alternate stream was deleted: one of the same name made later is new.
  Result<void> forget_stream(std::uint64_t record, const std::string& stream);

  // Placeholders. What is said here of files is said of their unnamed streams.
  //
  // Answers Windows, which asks for a range of a placeholder: the base's bytes go to `give`, in one piece,
  // and are loaded (recorded after the next flush) when that succeeds. The range begins at a block, and ends
  // at one or at the file's end; at most wire::kMaxReadBytes. ErrorCode::corrupt: none of it is the base's.
  using Give = std::function<Result<void>(std::uint64_t offset, ByteView data)>;
  Result<void> give(VolumeHandle& file, ByteRange range, const Give& give);
  // Of items published before there were placeholders: whether this one is to become one. Once it is, and the
  // journal flushed, it may be converted. What is partly here is loaded whole instead.
  Result<bool> mark_placeholder(VolumeHandle& handle);
  bool has_placeholders() const;         // or had; looks through the journal
  void converted(std::uint64_t record);  // or not: it is loaded again from now on
  // Whether the file's bytes may go: all of them are the base's, byte for byte. If so that is durable, and
  // released() says what came of it.
  Result<bool> release(VolumeHandle& file);
  Result<void> released(VolumeHandle& file, bool gone);
  // A program has closed the file: what Windows has all of although not all was loaded here is the program's.
  Result<void> note_closed(VolumeHandle& file);
  // Where in the version an item is; none for what is not of the version.
  std::optional<profile::ProfilePath> base_path(VolumeHandle& handle);

  // Of a junction or symbolic link that was published: its target below the profile's root.
  std::optional<std::string> link_target(std::uint64_t record) const;
  bool is_populated(std::uint64_t record) const;
  bool is_loaded(std::uint64_t record) const;  // all streams
  // Names of the streams not wholly loaded yet.
  std::vector<std::string> unloaded_streams(std::uint64_t record) const;

  // Flushes the volume, then records the tags of everything loaded before. The gate may be held.
  Result<void> flush_tags();
  // Records on the volume of items that the journal spoke of since it had so many bytes, with all tags.
  Result<std::vector<std::uint64_t>> loaded_since(std::uint64_t journal_bytes);

  Gate& gate() { return gate_; }
  Activity& activity() { return activity_; }
  const LoaderCounters& counters() const { return counters_; }
  // The directory staged and withdrawn items lie in.
  std::string staging_path(const std::string& name) const {
    return journal_.header().staging_root + "/" + name;
  }
  std::string new_staging_path();

 private:
  struct Child;

  std::shared_ptr<Item> find(VolumeHandle& handle);
  std::shared_ptr<Item> wake(std::uint64_t record, bool recovered) const;
  Result<std::vector<profile::NamedEntry>> list_all(const profile::ProfilePath& path);
  Result<Bytes> fetch(const Item& item, const std::string& stream, ByteRange range);
  template <class Call>
  auto patiently(Call call) -> decltype(call());

  static bool is_populated(Item& item);
  Result<void> populate_once(Item& item, VolumeHandle& directory, std::size_t inner_items);
  Result<void> stage_children(Item& item, VolumeHandle& directory,
                              const std::vector<profile::NamedEntry>& entries, std::vector<Child>& children,
                              std::size_t inner_items);
  Result<bool> stage_inner(const profile::ProfilePath& path, const profile::Entry& entry,
                           const std::string& staged, std::size_t& most,
                           std::vector<std::shared_ptr<Item>>& inner);
  Result<std::shared_ptr<Item>> record(const extract::ItemIdentity& identity,
                                       const profile::ProfilePath& path, const profile::Entry& entry,
                                       bool populated);
  bool is_hive(const profile::Entry& entry) const;
  Result<void> make_child(const profile::ProfilePath& path, Child& child);
  Result<bool> adopt_child(VolumeHandle& directory, Child& child);
  Result<void> publish_children(Item& item, VolumeHandle& directory, std::vector<Child>& children);
  void withdraw(std::vector<Child>& children);

  bool becomes_placeholder(const Child& child) const;
  Result<void> convert_children(const std::vector<Child>& children);
  Result<bool> load_placeholder(Item& item, VolumeHandle& stream, ByteRange range, Priority priority);
  ByteRange choose_fetch(const StreamState& state, ByteRange missing, bool sequential) const;
  Result<void> check_size(Item& item, VolumeHandle& stream, StreamState& state);
  Result<void> store(Item& item, VolumeHandle& stream, ByteRange range, ByteView data);
  void note_pending(Item& item);
  Result<void> remember_cut(Item& item, const std::string& stream, const StreamState& state,
                            std::uint64_t limit);
  Result<void> write_loaded(Item& item, VolumeHandle& stream, std::uint64_t offset, ByteView data,
                            bool& done);
  using Tags = std::map<std::string, std::map<std::uint64_t, extract::BlockTag>>;  // by stream and block
  Result<void> record_tags(Item& item, const std::string& name, const StreamState& state,
                           const std::map<std::uint64_t, extract::BlockTag>& tags);
  void settle_tags(Item& item, const Tags& streams);

  wire::CoordinatorLink& link_;
  const Guid session_secret_;
  ProfileVolume& volume_;
  extract::ProvenanceJournal& journal_;
  const LoaderOptions options_;
  RegistryLoader* registry_ = nullptr;
  const profile::Rules* rules_ = nullptr;
  WorkingSetLearner* learner_ = nullptr;
  std::atomic<Placeholders*> placeholders_{nullptr};
  ItemTable items_;
  Gate gate_;
  Activity activity_;
  LoaderCounters counters_;
  std::unique_ptr<Preview> preview_;
  std::atomic<std::uint64_t> staged_{0};
  std::string staging_prefix_;

  std::mutex tags_mutex_;  // guards the list; taken after an item's mutex
  std::vector<std::weak_ptr<Item>> tags_waiting_;
  std::mutex flush_mutex_;  // one flush at a time; taken before an item's mutex

  std::mutex recovered_mutex_;
  std::unordered_map<std::uint64_t, std::string> staged_leftovers_;  // record -> name in staging
};

}  // namespace roamstead::agent
