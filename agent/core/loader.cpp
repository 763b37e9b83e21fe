#include "agent/core/loader.h"

#include <algorithm>
#include <thread>

#include "agent/core/loader_child.h"
#include "agent/core/patience.h"
#include "agent/core/registry_loader.h"
#include "agent/core/working_set.h"
#include "common/base/log.h"

namespace roamstead::agent {

using extract::ItemIdentity;
using profile::Entry;
using profile::EntryKind;
using profile::NamedEntry;
using profile::ProfilePath;

namespace {

// Every stream of a published file starts as wholly the base's.
std::map<std::string, StreamState> fresh_streams(const Entry& entry) {
  std::map<std::string, StreamState> streams;
  if (entry.kind != EntryKind::file) return streams;
  streams[""].base_limit = entry.size_bytes;
  for (auto& stream : entry.streams) streams[stream.name].base_limit = stream.size_bytes;
  return streams;
}

}  // namespace

namespace {
// What filling makes below a directory while that is staged: one flush of the journal serves them all. A
// directory with more children than kInnerChildren is worth a flush of its own, and would make programs wait.
constexpr std::size_t kInnerItems = 1000;
constexpr std::size_t kInnerChildren = 64;

// Whether some directory on the way to this item is not recorded. What is made below a staged directory is
// recorded before that directory: when the end of the journal was lost, the directory counts for nothing, and
// so does this.
bool is_orphan(const extract::Provenance& provenance, ProfilePath path) {
  while (!path.is_root()) {
    path = path.parent();
    if (provenance.find_by_base(path) == nullptr) return true;
  }
  return false;
}
}  // namespace

Loader::Loader(wire::CoordinatorLink& link, Guid session_secret, ProfileVolume& volume,
               extract::ProvenanceJournal& journal, LoaderOptions options)
    : link_(link),
      session_secret_(session_secret),
      volume_(volume),
      journal_(journal),
      options_(options),
      items_([this](std::uint64_t record, bool recovered) { return wake(record, recovered); }) {
  staging_prefix_ =
      Guid::random().to_string().substr(0, 8);  // names of an earlier process are not used again
  if (options.preview)
    preview_ = std::make_unique<Preview>(link, session_secret, options.patience, activity_);
}

std::string Loader::new_staging_path() {
  return staging_path(staging_prefix_ + "-" + std::to_string(++staged_));
}

template <class Call>
auto Loader::patiently(Call call) -> decltype(call()) {
  return retry_while_away(options_.patience, call);
}

// An item as the journal knows it.
std::shared_ptr<Item> Loader::wake(std::uint64_t record, bool recovered) const {
  return journal_.inspect([&](const extract::Provenance& provenance) -> std::shared_ptr<Item> {
    const auto state = provenance.find_by_record(record);
    if (state == nullptr || state->withdrawn) return nullptr;
    auto item = std::make_shared<Item>(state->id, record, state->base_path,
                                       state->entry.kind == EntryKind::directory, recovered);
    item->created_100ns = state->identity.created_100ns;
    item->sequence = state->identity.sequence;  // said when it was published, and the same ever after
    if (item->sequence == 0 && state->previous_identity.record == record)
      item->sequence = state->previous_identity.sequence;
    if (recovered && state->previous_identity.record == record)
      item->previous_created_100ns = state->previous_identity.created_100ns;
    item->populated = state->populated;
    item->placeholder = state->placeholder;
    item->streams = fresh_streams(state->entry);
    for (const auto& [name, stream] : state->streams) {
      auto& mine = item->streams[name];
      mine.base_limit = stream.base_limit;
      for (const auto& [block, tag] : stream.tags) {
        const auto offset = block * extract::kTagBlockBytes;
        if (offset >= mine.base_limit) continue;
        mine.loaded.add({offset, std::min<std::uint64_t>(extract::kTagBlockBytes, mine.base_limit - offset)});
      }
    }
    return item;
  });
}

// The item behind a handle. Another file may use its record now: after a restart, and where programs delete
// past us.
std::shared_ptr<Item> Loader::find(VolumeHandle& handle) {
  auto item = items_.find(handle.record());
  if (!item) return nullptr;
  // Known by it for certain, also where a program that carries no hook deleted the item.
  const auto sequence = handle.file_number() >> 48;
  if (sequence != 0 && item->sequence != 0 && sequence != item->sequence) {
    items_.remove(handle.record());
    return nullptr;
  }
  if (!(item->recovered || item->doubted)) return item;
  std::lock_guard lock(item->mutex);
  if (item->identity_checked && !item->doubted) return item;
  auto times = handle.times();
  if (times && item->previous_created_100ns != 0 && times->created_100ns == item->previous_created_100ns)
    item->created_100ns = times->created_100ns;  // the change was announced, and did not come
  if (times && times->created_100ns != item->created_100ns) {
    items_.remove(handle.record());
    return nullptr;
  }
  item->identity_checked = times.has_value();
  return item;
}

void Loader::doubt(std::uint64_t record) {
  if (auto item = items_.find(record)) item->doubted = true;
}

Result<void> Loader::recover() {
  std::vector<extract::ItemId> orphans;
  std::vector<std::uint64_t> published;
  RS_CHECK(journal_.inspect([&](const extract::Provenance& provenance) {
    return provenance.for_each([&](const extract::ItemState& state) -> Result<void> {
      if (state.withdrawn) return {};
      if (is_orphan(provenance, state.base_path)) {
        orphans.push_back(state.id);
        return {};
      }
      published.push_back(state.identity.record);  // of several items with one record the latest is found
      return {};
    });
  }));
  for (const auto record : published) items_.add_resting(record, true);
  for (auto id : orphans) RS_CHECK(journal_.append_withdrawn(id));
  RS_TRY(auto staged, volume_.list(journal_.header().staging_root));
  std::lock_guard lock(recovered_mutex_);
  for (auto& item : staged) staged_leftovers_[item.record] = item.name;
  return {};
}

Result<void> Loader::publish_root(const Entry& entry, const std::function<Result<void>()>& before_named) {
  const auto& root = journal_.header().profile_root;
  std::optional<ItemIdentity> known;
  journal_.inspect([&](const extract::Provenance& provenance) {
    if (auto item = provenance.find_by_base(ProfilePath()); item != nullptr && !item->withdrawn)
      known = item->identity;
  });
  auto there = volume_.stat(root);
  if (known) {
    if (there && there->record == known->record) return {};
    std::lock_guard lock(recovered_mutex_);
    if (auto it = staged_leftovers_.find(known->record); it != staged_leftovers_.end())
      return volume_.rename(staging_path(it->second), root);
  }
  if (there) return fail(ErrorCode::exists, root + " is on the volume already and belongs to no session");
  auto staged = new_staging_path();
  RS_TRY(auto identity, volume_.stage(staged, entry));
  RS_TRY(auto id, journal_.append_published(identity, ProfilePath(), entry));
  RS_CHECK(journal_.flush());
  if (before_named) RS_CHECK(before_named());
  items_.add(std::make_shared<Item>(id, identity.record, ProfilePath(), true, false));
  return volume_.rename(staged, root);
}

Result<std::vector<NamedEntry>> Loader::list_all(const ProfilePath& path) {
  if (preview_)
    if (auto kept = preview_->kept_list(path)) return kept->entries();
  std::vector<NamedEntry> entries;
  for (std::string after;;) {
    RS_TRY(auto part, patiently([&] { return link_.list(session_secret_, path, after); }));
    if (part.more && part.entries.empty())
      return fail(ErrorCode::protocol, "listing " + path.text() + ": an empty part that is not the last");
    for (auto& entry : part.entries) {
      RS_CHECK_CTX("listing " + path.text(), profile::check_name(entry.name));
      entries.push_back(std::move(entry));
    }
    if (!part.more) return entries;
    after = entries.back().name;
  }
}

Result<void> Loader::populate(VolumeHandle& directory, Priority priority) {
  auto item = find(directory);
  if (!item || !item->directory) return {};
  if (learner_ != nullptr && priority != Priority::background) learner_->directory(item->base_path);
  std::optional<Activity::Foreground> foreground;
  if (priority != Priority::background && !is_populated(*item)) foreground.emplace(activity_);
  {
    std::unique_lock lock(item->mutex);
    if (item->populated) return {};
    auto until = Activity::Clock::now() + options_.patience;
    while (item->populating)
      if (item->changed.wait_until(lock, until) == std::cv_status::timeout && item->populating)
        return fail(ErrorCode::timeout, "waited for the listing of " + item->base_path.text());
    if (item->populated) return {};
    item->populating = true;
  }
  auto done = populate_once(*item, directory, priority == Priority::background ? kInnerItems : 0);
  std::unique_lock lock(item->mutex);
  item->populating = false;
  item->populated = done.has_value();
  item->changed.notify_all();
  if (!done)
    return fail(std::move(done).error().with("loading the directory '" + item->base_path.text() + "'"));
  ++counters_.directories_populated;
  if (preview_) preview_->drop_list(item->base_path);
  lock.unlock();
  items_.rest(std::move(item));
  return {};
}

Result<std::shared_ptr<const PreviewList>> Loader::preview_list(const ProfilePath& path) {
  if (learner_ != nullptr) learner_->directory(path);
  return preview_->list(path);
}

Result<Bytes> Loader::preview_read(const ProfilePath& path, std::uint64_t size_bytes, ByteRange range) {
  if (learner_ != nullptr) learner_->file(path, size_bytes);
  return preview_->read(path, size_bytes, range);
}

std::optional<ProfilePath> Loader::unpopulated_path(std::uint64_t record) const {
  auto item = items_.find(record);
  if (!item || !item->directory || is_populated(*item)) return std::nullopt;
  return item->base_path;
}

Result<void> Loader::populate_above(const ProfilePath& path, Priority priority) {
  std::vector<ProfilePath> above;
  for (auto at = path; !at.is_root();) above.push_back(at = at.parent());
  const auto& root = journal_.header().profile_root;
  for (auto it = above.rbegin(); it != above.rend(); ++it) {
    auto directory = volume_.open(it->is_root() ? root : root + "/" + it->text(), "");
    if (!directory && directory.error().code == ErrorCode::not_found) return {};
    if (!directory) return fail(std::move(directory).error());
    RS_CHECK(populate(**directory, priority));
  }
  return {};
}

Result<void> Loader::populate_once(Item& item, VolumeHandle& directory, std::size_t inner_items) {
  RS_TRY(auto entries, list_all(item.base_path));
  std::vector<Child> children;
  children.reserve(entries.size());
  auto done = stage_children(item, directory, entries, children, inner_items);
  if (done) done = publish_children(item, directory, children);
  if (!done) withdraw(children);
  return done;
}

Result<void> Loader::stage_children(Item& item, VolumeHandle& directory,
                                    const std::vector<NamedEntry>& entries, std::vector<Child>& children,
                                    std::size_t inner_items) {
  for (auto& entry : entries) {
    Child child;
    child.entry = &entry;
    auto path = item.base_path.child(entry.name);
    std::optional<ItemIdentity> known;
    journal_.inspect([&](const extract::Provenance& provenance) {
      if (auto state = provenance.find_by_base(path); state != nullptr && !state->withdrawn)
        known = state->identity;
    });
    if (known) {
      child.identity = *known;
      RS_TRY(bool adopted, adopt_child(directory, child));
      if (adopted) {
        if (is_hive(entry.entry)) RS_CHECK(registry_->prepare(path, entry.entry));
        children.push_back(std::move(child));
        continue;
      }
    }
    child.staged = new_staging_path();
    RS_CHECK_CTX(entry.name, make_child(path, child));
    children.push_back(std::move(child));
    auto& kept = children.back();
    bool populated = false;
    if (entry.entry.is_directory()) {
      RS_TRY_CTX(populated, entry.name, stage_inner(path, entry.entry, kept.staged, inner_items, kept.inner));
    }
    RS_TRY(kept.item, record(kept.identity, path, entry.entry, populated));
  }
  return {};
}

bool Loader::is_hive(const Entry& entry) const {
  return registry_ != nullptr && entry.kind == EntryKind::registry;
}

Result<void> Loader::make_child(const ProfilePath& path, Child& child) {
  const auto& entry = child.entry->entry;
  RS_TRY(child.identity,
         is_hive(entry) ? registry_->stage(path, entry, child.staged) : volume_.stage(child.staged, entry));
  return {};
}

// Puts a staged item into the journal.
Result<std::shared_ptr<Item>> Loader::record(const ItemIdentity& identity, const ProfilePath& path,
                                             const Entry& entry, bool populated) {
  RS_TRY(auto id, journal_.append_published(identity, path, entry));
  auto item = std::make_shared<Item>(id, identity.record, path, entry.is_directory(), false);
  item->created_100ns = identity.created_100ns;
  item->sequence = identity.sequence;
  item->streams = fresh_streams(entry);
  item->populated = populated;
  if (populated) {
    RS_CHECK(journal_.append_populated(id));
    ++counters_.directories_populated;
  }
  return item;
}

// Makes the children of a staged directory in it, and theirs, as long as there are not too many and no
// program waits. False when the directory is left to be populated when it is looked into.
Result<bool> Loader::stage_inner(const ProfilePath& path, const Entry& entry, const std::string& staged,
                                 std::size_t& most, std::vector<std::shared_ptr<Item>>& inner) {
  if (most == 0 || activity_.waited_for()) return false;
  // Windows asks for a placeholder's children when somebody looks into it.
  if (const auto* placeholders = placeholders_.load(); placeholders != nullptr && placeholders->covers(path))
    return false;
  RS_TRY(auto part, patiently([&] { return link_.list(session_secret_, path, ""); }));
  if (part.more || part.entries.size() > std::min(most, kInnerChildren)) return false;
  // A hive's base hive is made when it gets its name in the profile.
  for (auto& child : part.entries)
    if (is_hive(child.entry)) return false;
  // A child without a descriptor would inherit from a directory that has one.
  auto inherits = [](const NamedEntry& child) { return child.entry.metadata.security.empty(); };
  if (!entry.metadata.security.empty() && std::any_of(part.entries.begin(), part.entries.end(), inherits))
    return false;
  most -= part.entries.size();
  RS_TRY(auto directory, volume_.open(staged, ""));
  RS_TRY(auto before, directory->times());
  for (auto& child : part.entries) {
    RS_CHECK_CTX("listing " + path.text(), profile::check_name(child.name));
    auto child_path = path.child(child.name);
    auto child_staged = staged + "/" + child.name;
    RS_TRY_CTX(auto identity, child.name, volume_.stage(child_staged, child.entry));
    bool populated = false;
    if (child.entry.is_directory()) {
      RS_TRY_CTX(populated, child.name, stage_inner(child_path, child.entry, child_staged, most, inner));
    }
    RS_TRY(auto item, record(identity, child_path, child.entry, populated));
    inner.push_back(std::move(item));
  }
  RS_CHECK(directory->set_times(before));
  return true;
}

// A process before this one died between journal and name, or publishing the directory failed half way: the
// item has its name, or waits in staging; otherwise (false) its record is withdrawn and it is made anew.
Result<bool> Loader::adopt_child(VolumeHandle& directory, Child& child) {
  child.item = items_.find(child.identity.record);
  if (child.item) {
    auto there = volume_.stat_child(directory, child.entry->name);
    if (there && is_hive(child.entry->entry)) return true;  // its file is another one whenever it is written
    if (there && there->record == child.identity.record) return true;
    if (!there && there.error().code != ErrorCode::not_found) return fail(there.error());
    std::lock_guard lock(recovered_mutex_);
    if (auto it = staged_leftovers_.find(child.identity.record); it != staged_leftovers_.end()) {
      child.staged = staging_path(it->second);
      staged_leftovers_.erase(it);
      return true;
    }
    RS_CHECK(journal_.append_withdrawn(child.item->id));
    items_.remove(child.identity.record);
  }
  child.item = nullptr;
  return false;
}

Result<void> Loader::publish_children(Item& item, VolumeHandle& directory, std::vector<Child>& children) {
  for (const auto& child : children)
    if (child.entry->entry.kind == EntryKind::file && !child.item->placeholder &&
        becomes_placeholder(child)) {
      RS_CHECK(journal_.append_dehydrated(child.item->id));
      child.item->placeholder = true;
    }
  RS_CHECK(journal_.flush());
  {
    Gate::Pass pass(gate_);
    RS_TRY(auto before, directory.times());
    for (auto& child : children) {
      for (auto& inner : child.inner) items_.add_resting(inner->record, false);
      if (child.item->recovered) {
        items_.add(child.item);
      } else {
        items_.add_resting(child.item->record, false);
      }
      if (child.staged.empty()) {
        if (is_hive(child.entry->entry)) RS_CHECK(registry_->published(child.item->base_path));
        continue;
      }
      auto published = volume_.publish(child.staged, directory, child.entry->name);
      if (!published) return fail(std::move(published).error().with(child.entry->name));
      child.staged.clear();
      counters_.items_published += 1 + child.inner.size();
      if (is_hive(child.entry->entry)) RS_CHECK(registry_->published(child.item->base_path));
    }
    // Nobody else changes a directory that is not populated: the times are still the base's.
    RS_CHECK(directory.set_times(before));
  }
  RS_CHECK(convert_children(children));
  RS_CHECK(journal_.append_populated(item.id));
  // Before programs see the directory: what they rename or delete in it would otherwise look, to the next
  // process, like children that never got their names.
  return journal_.flush();
}

// What the journal does not take any more needs no withdrawing there: a journal that failed once takes
// nothing, and what it holds of these items is made good by recover().
void Loader::withdraw(std::vector<Child>& children) {
  for (auto& child : children) {
    if (child.staged.empty()) continue;  // it has its name
    if (child.item && child.item->recovered) {
      std::lock_guard lock(recovered_mutex_);
      staged_leftovers_[child.item->record] = child.staged.substr(child.staged.rfind('/') + 1);
      continue;
    }
    for (auto& inner : child.inner) {
      items_.remove(inner->record);
      (void)journal_.append_withdrawn(inner->id);
    }
    if (child.item) {
      items_.remove(child.item->record);
      (void)journal_.append_withdrawn(child.item->id);
    }
    if (auto removed = volume_.remove_tree(child.staged); !removed)
      log_warning("a staged item stays behind: {}", removed.error().to_string());
  }
}

std::optional<std::string> Loader::link_target(std::uint64_t record) const {
  auto item = items_.find(record);
  if (!item) return std::nullopt;
  return journal_.inspect([&](const extract::Provenance& provenance) -> std::optional<std::string> {
    auto state = provenance.find(item->id);
    if (state == nullptr ||
        (state->entry.kind != EntryKind::junction && state->entry.kind != EntryKind::symlink))
      return std::nullopt;
    return state->entry.link_target;
  });
}

bool Loader::is_populated(std::uint64_t record) const {
  auto item = items_.find(record);
  return !item || !item->directory || is_populated(*item);
}

bool Loader::is_populated(Item& item) {
  std::lock_guard lock(item.mutex);
  return item.populated;
}

bool Loader::may_rename(std::uint64_t record, bool directory, std::string_view from,
                        std::string_view to) const {
  if (rules_ == nullptr || rules_->empty()) return true;
  if (directory) return rules_->same_below(from, to);
  return rules_->file(from).saving == rules_->file(to).saving || is_loaded(record);
}

bool Loader::is_loaded(std::uint64_t record) const { return unloaded_streams(record).empty(); }

std::vector<std::string> Loader::unloaded_streams(std::uint64_t record) const {
  std::vector<std::string> names;
  if (auto item = items_.find(record)) {
    std::lock_guard lock(item->mutex);
    for (auto& [name, state] : item->streams)
      if (!state.fully_loaded()) names.push_back(name);
  }
  return names;
}

}  // namespace roamstead::agent
