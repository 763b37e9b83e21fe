#include <set>

#include "common/base/text.h"
#include "coordinator/repository/hive_diff.h"
#include "coordinator/repository/merge_builder.h"

namespace roamstead::repository {
namespace {

using profile::KeyEntry;
using profile::KeyPath;
using profile::RegistryValue;
using Change = Tree::Change;
using Kind = MergeConflict::Kind;

// Keys and values are told apart by where they lie in a hive's pages (hive_place.h): without regard to case.
using Place = std::string;

// What ours changed since the base.
struct OurChanges {
  std::map<Place, Change> keys;
  std::map<Place, Change> values;
  std::set<Place> alive;  // keys at or below which something was added or changed
};

// A difference that outlives the walk that found it.
struct TheirChange {
  Change change = Change::changed;
  KeyPath key;
  std::optional<std::string> value;  // its name; none: the key itself
};

class HiveMerger {
 public:
  HiveMerger(MergeBuilder& builder, const profile::ProfilePath& hive, const ObjectId& base,
             const ObjectId& ours, const ObjectId& theirs)
      : builder_(builder),
        objects_(builder.objects()),
        hive_(hive),
        base_root_(base),
        ours_root_(ours),
        theirs_root_(theirs),
        base_(objects_, base),
        ours_(objects_, ours),
        theirs_(objects_, theirs) {}

  Result<void> run() {
    RS_CHECK(diff_hives(objects_, base_root_, ours_root_,
                        [this](const Tree::KeyDifference& difference) { note_ours(difference); }));
    std::vector<TheirChange> changes;
    RS_CHECK(diff_hives(objects_, base_root_, theirs_root_, [&](const Tree::KeyDifference& difference) {
      const auto* value = difference.value_after ? difference.value_after : difference.value_before;
      changes.push_back({difference.change, difference.key,
                         difference.is_value() ? std::optional(value->name) : std::nullopt});
    }));
    // Keys first: whether a value's key goes or stays is known then.
    for (const auto& change : changes)
      if (!change.value) RS_CHECK(key(change));
    for (const auto& change : changes)
      if (change.value) RS_CHECK(value(change));
    for (auto& [place, put] : puts_) builder_.put_key(std::move(put.record), std::move(put.sources));
    return {};
  }

 private:
  struct Put {
    profile::PutKey record;
    std::vector<MergeSource> sources;  // by value
  };

  std::string name_of(const KeyPath& key) const { return hive_.text() + "\\" + key.text(); }
  std::string name_of(const KeyPath& key, const std::string& value) const {
    return name_of(key) + " : " + (value.empty() ? "(default)" : value);
  }

  void note_ours(const Tree::KeyDifference& difference) {
    const auto place = place_of(difference.key);
    if (difference.is_value()) {
      const auto* value = difference.value_after ? difference.value_after : difference.value_before;
      ours_changes_.values[value_place(place, value->name)] = difference.change;
    } else {
      ours_changes_.keys[place.record] = difference.change;
    }
    if (difference.change == Change::removed) return;
    for (auto key = difference.key;
         ours_changes_.alive.insert(place_of(key).record).second && !key.is_root();)
      key = key.parent();
  }

  Result<std::optional<KeyEntry>> find_key(const HiveView& view, const Place& record) const {
    RS_TRY(auto stored, view.tree().find(record));
    if (!stored) return std::optional<KeyEntry>();
    RS_TRY(auto found, view.load_key(*stored));
    return std::optional(std::move(found.entry));
  }
  Result<std::optional<ValueRecord>> find_value(const HiveView& view, const KeyPlace& key,
                                                const std::string& name) const {
    RS_TRY(auto stored, view.tree().find(value_place(key, name)));
    if (!stored) return std::optional<ValueRecord>();
    RS_TRY(auto found, view.load_value(*stored));
    return std::optional(std::move(found));
  }

  // The record that changes a key; it keeps what it is not told to change.
  Put& put_for(const KeyPath& key, const Place& record, const KeyEntry& entry) {
    auto [it, added] = puts_.try_emplace(record);
    if (added) it->second.record = {hive_, key, entry, true, {}, {}};
    return it->second;
  }

  // Theirs has the key, ours perhaps not, nor what it is in: made as theirs has them.
  Result<Put*> ensure(const KeyPath& key) {
    const auto record = place_of(key).record;
    if (auto known = puts_.find(record); known != puts_.end()) return &known->second;
    RS_TRY(auto theirs, find_key(theirs_, record));
    if (!theirs) return fail(ErrorCode::corrupt, "'" + name_of(key) + "': a value or key without its key");
    RS_TRY(auto ours, find_key(ours_, record));
    if (!ours && !key.is_root()) RS_CHECK(ensure(key.parent()).map([](Put*) {}));
    if (!ours && ours_changes_.keys.count(record) != 0) builder_.note(Kind::deleted_ours, name_of(key));
    return &put_for(key, record, *theirs);
  }

  Result<void> key(const TheirChange& change) {
    const auto record = place_of(change.key).record;
    RS_TRY(auto ours, find_key(ours_, record));
    switch (change.change) {
      case Change::added: {
        if (ours) return {};
        RS_TRY(auto* put, ensure(change.key));
        put->record.merge = false;
        return {};
      }
      case Change::removed: {
        const auto parent = change.key.is_root() ? Place() : place_of(change.key.parent()).record;
        if (!ours) return {};
        if (gone_.count(parent) != 0) {
          gone_.insert(record);
          return {};
        }
        if (ours_changes_.alive.count(record) == 0 && !change.key.is_root()) {
          builder_.delete_key(hive_, change.key);
          gone_.insert(record);
          return {};
        }
        if (kept_.insert(record).second && kept_.count(parent) == 0)
          builder_.note(Kind::deleted_theirs, name_of(change.key));
        return {};
      }
      case Change::changed:
        break;
    }
    // Class or security. Where ours deleted the key, that is not worth bringing it back.
    if (!ours) return {};
    RS_TRY(auto theirs, find_key(theirs_, record));
    if (ours_changes_.keys.count(record) == 0) {
      put_for(change.key, record, *theirs).record.merge = false;
    } else if (ours->class_name != theirs->class_name || ours->security != theirs->security) {
      builder_.note(Kind::both_changed, name_of(change.key));
    }
    return {};
  }

  Result<void> value(const TheirChange& change) {
    const auto place = place_of(change.key);
    if (gone_.count(place.record) != 0) return {};
    const auto& name = *change.value;
    const auto at = value_place(place, name);
    const bool ours_changed = ours_changes_.values.count(at) != 0;
    RS_TRY(auto ours, find_value(ours_, place, name));
    if (change.change == Change::removed) {
      if (!ours) return {};
      if (ours_changed) {
        if (kept_.count(place.record) == 0) builder_.note(Kind::deleted_theirs, name_of(change.key, name));
        return {};
      }
      RS_TRY(auto entry, find_key(ours_, place.record));
      if (entry) put_for(change.key, place.record, *entry).record.deleted_values.push_back(ours->name);
      return {};
    }
    RS_TRY(auto theirs, find_value(theirs_, place, name));
    if (!ours_changed) return set(change.key, *theirs);
    if (!ours) {
      builder_.note(Kind::deleted_ours, name_of(change.key, name));
      return set(change.key, *theirs);
    }
    RS_TRY(bool same, same_value(*ours, *theirs));
    return same ? Result<void>() : keep_loser(change.key, *theirs);
  }

  Result<bool> same_value(const ValueRecord& a, const ValueRecord& b) {
    if (a.type != b.type) return false;
    return same_bytes(objects_, {a.content, a.size_bytes}, {b.content, b.size_bytes});
  }

  Result<void> set(const KeyPath& key, const ValueRecord& value) {
    RS_TRY(auto* put, ensure(key));
    add_value(*put, value);
    return {};
  }
  static void add_value(Put& put, const ValueRecord& value) {
    put.record.values.push_back(value.value());
    put.sources.push_back({value.content, value.size_bytes});
  }

  // In a key of its own, out of the way of what reads the one it was in.
  Result<void> keep_loser(const KeyPath& key, const ValueRecord& value) {
    const bool is_classes = hive_.name() == "UsrClass.dat";
    const auto folder = std::string(is_classes ? "Local Settings\\" : "") +
                        "Software\\Roamstead\\Conflicts\\" + builder_.label() +
                        (key.is_root() ? "" : "\\" + key.text());
    auto copy = KeyPath::parse(folder);
    if (!copy) {  // too deep: what it says is in the fork alone
      builder_.note(Kind::both_changed, name_of(key, value.name));
      return {};
    }
    builder_.note(Kind::both_changed, name_of(key, value.name), name_of(*copy, value.name));
    RS_TRY(auto* put, ensure_copy(*copy));
    add_value(*put, value);
    return {};
  }
  Result<Put*> ensure_copy(const KeyPath& key) {
    const auto record = place_of(key).record;
    if (auto known = puts_.find(record); known != puts_.end()) return &known->second;
    RS_TRY(auto ours, find_key(ours_, record));
    if (gone_.count(record) != 0) ours.reset();  // what goes does not hold what comes
    if (!ours && !key.is_root()) RS_CHECK(ensure_copy(key.parent()).map([](Put*) {}));
    KeyEntry entry;
    if (ours) {
      entry = *ours;
    } else {  // whoever may see the hive may see it
      RS_TRY(auto root, find_key(ours_, place_of({}).record));
      if (root) entry.security = root->security;
    }
    return &put_for(key, record, entry);
  }

  MergeBuilder& builder_;
  ProfileObjects& objects_;
  const profile::ProfilePath& hive_;
  const ObjectId base_root_, ours_root_, theirs_root_;
  HiveView base_, ours_, theirs_;
  OurChanges ours_changes_;
  std::map<Place, Put> puts_;
  std::set<Place> gone_;  // keys that theirs deleted and that go
  std::set<Place> kept_;  // keys that theirs deleted and that stay
};

}  // namespace

Result<void> merge_hives(MergeBuilder& builder, const profile::ProfilePath& hive, const ObjectId& base,
                         const ObjectId& ours, const ObjectId& theirs) {
  if (theirs == base || theirs == ours) return {};
  return HiveMerger(builder, hive, base, ours, theirs).run();
}

}  // namespace roamstead::repository
